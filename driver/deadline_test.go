package driver_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
)

// stage is what fails, or tells, when a register is stuck.
type stage int

const (
	atOpen stage = iota
	atModule
	atStart
	atStop
	atClose
	atLink
)

// stuck is every wait of the driver for the device: which register is stuck at
// which value, and what is said about it. TestEveryWaitIsTested keeps it whole.
var stuck = []struct {
	name  string
	at    reg.Offset
	v     uint32
	stage stage
	want  string
}{
	{"reset never ends", reg.CTRL, 1 << 26, atOpen,
		"reset: CTRL & 0x4000008 is not 0x0 after 1s: last value 0x04000000 (register at 0x00000)"},
	{"requests stay pending", reg.STATUS, 1 << 19, atClose,
		"STATUS & 0x80000 is not 0x0 after 100ms: last value 0x00080000 (register at 0x00008)"},
	{"EEPROM not read", reg.EEC, 1 << 8, atOpen,
		"wait for EEPROM auto-read: EEC & 0x200 is not 0x200 after 1s: last value 0x00000100 (register at 0x10010)"},
	{"EEPROM read hangs", reg.EERD, 0, atOpen,
		"read EEPROM word 0x0: EERD & 0x2 is not 0x2 after 100ms: last value 0x00000000 (register at 0x10014)"},
	{"other driver holds SWSM", reg.SWSM, 1, atOpen,
		"SWSM.SMBI & 0x1 is not 0x0 after 1s: last value 0x00000001 (register at 0x10140)"},
	{"firmware holds SWSM", reg.SWSM, 0, atOpen,
		"SWSM.SWESMBI & 0x2 is not 0x2 after 1s: last value 0x00000000 (register at 0x10140)"},
	{"firmware holds the EEPROM", reg.SW_FW_SYNC, 1 << 5, atOpen,
		"check EEPROM: SW_FW_SYNC & 0x21 is not 0x0 after 1s: last value 0x00000020 (register at 0x10160)"},
	{"firmware holds the module's bus", reg.SW_FW_SYNC, 1 << 6, atModule,
		"SW_FW_SYNC & 0x42 is not 0x0 after 1s: last value 0x00000040 (register at 0x10160)"},
	{"firmware holds the link", reg.SW_FW_SYNC, 1 << 8, atOpen,
		"set up link: SW_FW_SYNC & 0x108 is not 0x0 after 1s: last value 0x00000100 (register at 0x10160)"},
	{"module's clock held low", reg.I2CCTL, 0, atModule,
		"I2CCTL.CLK_IN & 0x1 is not 0x1 after 1ms: last value 0x00000000 (register at 0x00028)"},
	{"module's data held low", reg.I2CCTL, 1, atModule,
		"I2CCTL.DATA_IN stays low: no module answers in the cage"},
	{"DMA not ready", reg.RDRXCTL, 0, atOpen,
		"wait for DMA initialisation: RDRXCTL & 0x8 is not 0x8 after 1s: last value 0x00000000 (register at 0x02f00)"},
	{"transmit queue not enabled", reg.TXDCTL(0), 0, atOpen,
		"initialise transmit: TXDCTL[0] & 0x2000000 is not 0x2000000 after 100ms: last value 0x00000000 (register at 0x06028)"},
	{"receive queue not enabled", reg.RXDCTL(1), 0, atStart,
		"start fake:82599: RXDCTL[1] & 0x2000000 is not 0x2000000 after 100ms: last value 0x00000000 (register at 0x01068)"},
	{"security block busy", reg.SECRXSTAT, 0, atStart,
		"start fake:82599: SECRXSTAT & 0x1 is not 0x1 after 100ms: last value 0x00000000 (register at 0x08d04)"},
	{"reception goes on", reg.RXCTRL, 1, atStop,
		"stop fake:82599: RXCTRL & 0x1 is not 0x0 after 100ms: last value 0x00000001 (register at 0x03000)"},
	{"receive queue not disabled", reg.RXDCTL(0), 1 << 25, atClose,
		"RXDCTL[0] & 0x2000000 is not 0x0 after 100ms: last value 0x02000000 (register at 0x01028)"},
	{"transmit queue not disabled", reg.TXDCTL(0), 1 << 25, atClose,
		"TXDCTL[0] & 0x2000000 is not 0x0 after 100ms: last value 0x02000000 (register at 0x06028)"},
	{"link stays down", reg.LINKS, 0, atLink,
		"wait for the link of fake:82599: LINKS 0x00000000: context deadline exceeded"},

	// These are no waits, but what a broken device shows instead of a value.
	{"no EEPROM", reg.EEC, 1 << 9, atOpen, "no EEPROM with a valid signature"},
	{"no address", reg.RAH(0), 0x1234, atOpen, "read the MAC address: RAL[0]"},
}

func TestStuckRegistersEndEveryWaitByName(t *testing.T) {
	for _, c := range stuck {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			d := drivertest.NewDevice()
			d.Stuck[c.at] = c.v
			p, err := driver.Open(d, driver.Config{Queues: 2, RingSize: 64, TxQueues: 1})
			if c.stage == atOpen {
				require.ErrorContains(t, err, c.want)
			} else {
				require.NoError(t, err)
				closed := false
				switch c.stage {
				case atModule:
					_, err = p.Module()
				case atStart:
					err = p.Start()
					require.Zero(t, d.Value(reg.RXCTRL)&1)
				case atStop:
					require.NoError(t, p.Start())
					err = p.Stop()
				case atClose:
					err, closed = p.Close(), true
				case atLink:
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					defer cancel()
					_, err = p.WaitLink(ctx)
				}
				require.ErrorContains(t, err, c.want)
				if !closed {
					require.NoError(t, p.Close())
				}
			}
			require.NotContains(t, err.Error(), "\n")
			require.Zero(t, d.Mapper.Mapped())
			require.False(t, d.BusMaster())
			require.Less(t, time.Since(begin), 30*time.Second)
		})
	}
}

// TestEveryWaitIsTested finds the driver's waits for registers in its source: a
// new one without a line in the table above fails here. Loops that sleep by
// themselves are counted, so that a new one is thought about.
func TestEveryWaitIsTested(t *testing.T) {
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	set := token.NewFileSet()
	sleeps := map[string]int{}
	waits := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(set, f.Name(), nil, 0)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			var name ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && sel.Sel.Name == "Sleep" {
					sleeps[f.Name()]++
				}
				if sel.Sel.Name == "wait" && len(n.Args) == 5 {
					name = n.Args[0]
				}
			case *ast.KeyValueExpr:
				if k, ok := n.Key.(*ast.Ident); ok && k.Name == "Register" {
					name = n.Value
				}
			}
			if call, ok := name.(*ast.CallExpr); ok { // fmt.Sprintf("RXDCTL[%d]", i)
				name = call.Args[0]
			}
			lit, ok := name.(*ast.BasicLit)
			if !ok {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			waits++
			register := strings.TrimSuffix(text, "%d]")
			known := false
			for _, c := range stuck {
				known = known || strings.Contains(c.want, register)
			}
			require.True(t, known, "%s: the wait for %s is not in the table of stuck registers", set.Position(lit.Pos()), text)
			return true
		})
	}
	require.Greater(t, waits, 12)
	require.Equal(t, map[string]int{
		"access.go":  1, // wait itself
		"eeprom.go":  2, // acquire, withSemaphores: semaphoreLimit each
		"init.go":    3, // single pauses
		"init_rx.go": 2, // 100 times a millisecond at most; a single pause
		"init_tx.go": 1, // 20 ms
		"module.go":  1, // moduleStart
	}, sleeps)
}

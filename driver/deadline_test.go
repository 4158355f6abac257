package driver_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/driver/internal/reg"
)

// stage is the step that fails when a register is stuck.
type stage int

const (
	atOpen  stage = iota
	atFlows       // open with the Flow Director
	atModule
	atStart
	atStop
	atClose
	atCloseWithoutReset // the kernel has no reset for the function
	atLink
	atX540    // open one, without a check of its NVM
	atX550    // open one
	atVirtual // open a virtual function
	atVirtualClose
)

// stuckRegister is a register that is stuck at v, and the error that results.
type stuckRegister struct {
	name  string
	at    reg.Register
	v     uint32
	stage stage
	want  string
}

// stuck has every wait of the driver for the device. TestEveryWaitIsTested finds
// the missing ones.
var stuck = []stuckRegister{
	{"reset never ends", reg.CTRL, 1 << 26, atOpen,
		"reset: wait for CTRL.RST|LRST: bits 0x4000008 are 0x4000000 after 1s, want 0x0 (register at 0x00000, last value 0x04000000)"},
	{"requests stay pending", reg.STATUS, 1 << 19, atCloseWithoutReset,
		"wait for STATUS.MASTER_ENABLE: bits 0x80000 are 0x80000 after 100ms, want 0x0 (register at 0x00008, last value 0x00080000)"},
	{"EEPROM not read", reg.EEC, 1 << 8, atOpen,
		"EEPROM auto-read: wait for EEC.ARD: bits 0x200 are 0x0 after 1s, want 0x200 (register at 0x10010, last value 0x00000100)"},
	{"EEPROM read hangs", reg.EERD, 0, atOpen,
		"read EEPROM word 0x0: wait for EERD.DONE: bits 0x2 are 0x0 after 100ms, want 0x2 (register at 0x10014, last value 0x00000000)"},
	{"other driver holds SWSM", reg.SWSM, 1, atOpen,
		"wait for SWSM.SMBI: bits 0x1 are 0x1 after 1s, want 0x0 (register at 0x10140, last value 0x00000001)"},
	{"firmware holds SWSM", reg.SWSM, 0, atOpen,
		"wait for SWSM.SWESMBI: bits 0x2 are 0x0 after 1s, want 0x2 (register at 0x10140, last value 0x00000000)"},
	{"firmware holds the EEPROM", reg.SW_FW_SYNC, 1 << 5, atOpen,
		"check EEPROM: wait for SW_FW_SYNC.EEPROM|EEPROM_FW: bits 0x21 are 0x20 after 1s, want 0x0 (register at 0x10160, last value 0x00000020)"},
	{"firmware holds the module's bus", reg.SW_FW_SYNC, 1 << 6, atModule,
		"wait for SW_FW_SYNC.PHY0|PHY0_FW: bits 0x42 are 0x40 after 1s, want 0x0 (register at 0x10160, last value 0x00000040)"},
	{"firmware holds the link", reg.SW_FW_SYNC, 1 << 8, atOpen,
		"set up link: wait for SW_FW_SYNC.MAC_CSR|MAC_CSR_FW: bits 0x108 are 0x100 after 1s, want 0x0 (register at 0x10160, last value 0x00000100)"},
	{"module's clock held low", reg.I2CCTL, 0, atModule,
		"wait for I2CCTL.CLK_IN: bits 0x1 are 0x0 after 1ms, want 0x1 (register at 0x00028, last value 0x00000000)"},
	{"module's data held low", reg.I2CCTL, 1, atModule,
		"I2CCTL.DATA_IN stays low: no module answers in the cage"},
	{"DMA not ready", reg.RDRXCTL, 0, atOpen,
		"DMA initialisation: wait for RDRXCTL.DMAIDONE: bits 0x8 are 0x0 after 1s, want 0x8 (register at 0x02f00, last value 0x00000000)"},
	{"flow director busy", reg.FDIRCMD, 1, atFlows,
		"initialise receive: wait for FDIRCMD.CMD: bits 0x3 are 0x1 after 100ms, want 0x0 (register at 0x0ee2c, last value 0x00000001)"},
	{"flow director not initialised", reg.FDIRCTRL, 1, atFlows,
		"initialise receive: wait for FDIRCTRL.INIT_DONE: bits 0x8 are 0x0 after 100ms, want 0x8 (register at 0x0ee00, last value 0x00000001)"},
	{"transmit queue not enabled", reg.TXDCTL(0), 0, atOpen,
		"initialise transmit: wait for TXDCTL[0].ENABLE: bits 0x2000000 are 0x0 after 100ms, want 0x2000000 (register at 0x06028, last value 0x00000000)"},
	{"receive queue not enabled", reg.RXDCTL(1), 0, atStart,
		"start fake:82599: wait for RXDCTL[1].ENABLE: bits 0x2000000 are 0x0 after 100ms, want 0x2000000 (register at 0x01068, last value 0x00000000)"},
	{"security block busy", reg.SECRXSTAT, 0, atStart,
		"start fake:82599: wait for SECRXSTAT.SECRX_RDY: bits 0x1 are 0x0 after 100ms, want 0x1 (register at 0x08d04, last value 0x00000000)"},
	{"reception goes on", reg.RXCTRL, 1, atStop,
		"stop fake:82599: wait for RXCTRL.RXEN: bits 0x1 are 0x1 after 100ms, want 0x0 (register at 0x03000, last value 0x00000001)"},
	{"receive queue not disabled", reg.RXDCTL(0), 1 << 25, atClose,
		"wait for RXDCTL[0].ENABLE: bits 0x2000000 are 0x2000000 after 100ms, want 0x0 (register at 0x01028, last value 0x02000000)"},
	{"transmit queue not disabled", reg.TXDCTL(0), 1 << 25, atClose,
		"wait for TXDCTL[0].ENABLE: bits 0x2000000 are 0x2000000 after 100ms, want 0x0 (register at 0x06028, last value 0x02000000)"},
	{"physical function in reset", reg.VFMAILBOX, 1 << 6, atVirtual,
		"reset: wait for VFMAILBOX.RSTI: bits 0x40 are 0x40 after 3s, want 0x0 (register at 0x002fc, last value 0x00000040). The driver of the physical function is not running"},
	{"physical function uses the mailbox", reg.VFMAILBOX, 1 << 3, atVirtual,
		"reset: message 0x1 to the physical function: take the mailbox: wait for VFMAILBOX.VFU: bits 0x4 are 0x0 after 3s, want 0x4 (register at 0x002fc, last value 0x00000008)"},
	{"physical function does not read", reg.VFMAILBOX, 1 << 2, atVirtual,
		"reset: message 0x1 to the physical function: not read: wait for VFMAILBOX.PFACK: bits 0x20 are 0x0 after 3s, want 0x20 (register at 0x002fc, last value 0x00000004)"},
	{"physical function does not answer", reg.VFMAILBOX, 1<<2 | 1<<5, atVirtual,
		"reset: message 0x1 to the physical function: no answer: wait for VFMAILBOX.PFSTS: bits 0x10 are 0x0 after 3s, want 0x10 (register at 0x002fc, last value 0x00000024)"},
	{"physical function does not understand the reset", reg.VFMBMEM(0), 2, atVirtual,
		"reset: the physical function answers 0x2"},
	{"physical function assigns no address and refuses one", reg.VFMBMEM(0), 1<<30 | 1<<29 | 1, atVirtual,
		"negotiate with the physical function: it assigns this function no MAC address and refuses "},
	{"transmit queue of a virtual function not enabled", reg.VFTXDCTL(0), 0, atVirtual,
		"initialise transmit: wait for VFTXDCTL[0].ENABLE: bits 0x2000000 are 0x0 after 100ms, want 0x2000000 (register at 0x02028, last value 0x00000000)"},
	{"transmit queue of a virtual function not disabled", reg.VFTXDCTL(0), 1 << 25, atVirtualClose,
		"wait for VFTXDCTL[0].ENABLE: bits 0x2000000 are 0x2000000 after 100ms, want 0x0 (register at 0x02028, last value 0x02000000)"},
	{"firmware of an X540 holds SW_FW_SYNC", reg.SW_FW_SYNC, 1 << 31, atX540,
		"reset: wait for SW_FW_SYNC.REGSMP: bits 0x80000000 are 0x80000000 after 1s, want 0x0 (register at 0x10160, last value 0x80000000)"},
	{"PHY of an X540 is used", reg.SW_FW_SYNC, 1 << 6, atX540,
		"reset: wait for SW_FW_SYNC.PHY0|PHY0_FW: bits 0x42 are 0x40 after 1s, want 0x0 (register at 0x10160, last value 0x00000040)"},
	{"MDIO bus of an X540 hangs", reg.MSCA, 1 << 30, atX540,
		"set up link: read PHY register 1.0x8: wait for MSCA.COMMAND: bits 0x40000000 are 0x40000000 after 10ms, want 0x0 (register at 0x0425c, last value 0x40000000)"},
	{"firmware of an X550 hangs", reg.HICR, 3, atX550,
		"check EEPROM: read NVM words from 0x0: wait for HICR.C: bits 0x2 are 0x2 after 500ms, want 0x0 (register at 0x15f00, last value 0x00000003)"},
	{"link stays down", reg.LINKS, 0, atLink,
		"wait for the link of fake:82599: LINKS 0x00000000: context deadline exceeded"},

	// No waits: values that only a broken device shows.
	{"no EEPROM", reg.EEC, 1 << 9, atOpen, "no EEPROM with a valid signature"},
	{"no address", reg.RAH(0), 0x1234, atOpen, "read the MAC address: RAL[0]"},
	{"no PHY", reg.MSCA, 0, atX540, "set up link: no PHY answers on the MDIO bus"},
	{"no firmware", reg.HICR, 0, atX550, "HICR.EN is 0: the firmware takes no commands"},
	{"firmware refuses", reg.HICR, 1, atX550, "HICR.SV is 0: the firmware has refused the command"},
}

func TestStuckRegistersEndEveryWaitByName(t *testing.T) {
	for _, c := range stuck {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			d := drivertest.NewDevice()
			switch c.stage {
			case atX540:
				d.Identity.Device = 0x1528
			case atX550:
				d.Identity.Device = 0x1563
			case atVirtual, atVirtualClose:
				// A physical function that grants everything.
				d.Identity.Device, d.BARSize = 0x10ed, 16<<10
				d.Stuck[reg.VFMAILBOX] = 1<<2 | 1<<4 | 1<<5
				d.Stuck[reg.VFMBMEM(0)], d.Stuck[reg.VFMBMEM(1)], d.Stuck[reg.VFMBMEM(2)] = 1<<31|1<<29|1, 2, 2
			}
			d.Stuck[c.at] = c.v
			cfg := driver.Config{Queues: 2, RingSize: 64, TxQueues: 1}
			if c.stage == atFlows {
				cfg.FlowDirector = driver.PerfectFlows
			}
			cfg.SkipEEPROMCheck = c.stage == atX540
			p, err := driver.Open(d, cfg)
			if slices.Contains([]stage{atOpen, atFlows, atVirtual, atX540, atX550}, c.stage) {
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
				case atClose, atVirtualClose, atCloseWithoutReset:
					if c.stage == atCloseWithoutReset {
						d.ResetErr = errors.New("no reset method")
					}
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
// themselves are counted, so that a new one is not missed.
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
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				name = f.Sel.Name
				if x, ok := f.X.(*ast.Ident); ok && x.Name == "time" && name == "Sleep" {
					sleeps[set.Position(call.Pos()).Filename]++
				}
			case *ast.Ident:
				name = f.Name
			}
			if name != "wait" && name != "waitError" || set.Position(call.Pos()).Filename == "access.go" {
				return true
			}
			register := call.Args[0]
			if element, ok := register.(*ast.CallExpr); ok { // reg.RXDCTL(i)
				register = element.Fun
			}
			sel, ok := register.(*ast.SelectorExpr)
			require.True(t, ok, "%s: the first argument is no register", set.Position(call.Pos()))
			waits++
			known := slices.ContainsFunc(stuck, func(c stuckRegister) bool { return strings.Contains(c.want, "wait for "+sel.Sel.Name) })
			require.True(t, known, "%s: the wait for %s is not in the table of stuck registers", set.Position(call.Pos()), sel.Sel.Name)
			return true
		})
	}
	require.Greater(t, waits, 12)
	require.Equal(t, map[string]int{
		"access.go":  1, // wait itself
		"eeprom.go":  2, // acquire, withSemaphores: semaphoreLimit each
		"init.go":    4, // single pauses; disableMaster: masterLimit
		"init_rx.go": 2, // 100 times a millisecond at most; a single pause
		"init_tx.go": 1, // 20 ms
		"mailbox.go": 1, // lockTimeout
		"module.go":  1, // moduleStart
		"virtual.go": 2, // waitMailbox, lockVirtualMail: their limit
		"recover.go": 2, // a single pause; the readers of queues, half a second
	}, sleeps)
}

package reg

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoRegisterIsDeclaredTwiceOrOutsideBAR0(t *testing.T) {
	at := map[Offset]string{}
	names := map[string]bool{}
	require.Greater(t, len(Table), 90)
	for _, row := range Table {
		require.False(t, names[row.Name], "%s appears twice", row.Name)
		names[row.Name] = true
		require.NotEmpty(t, row.Section, row.Name)
		for i := range row.N() {
			r := row.At(i)
			o := r.Offset
			require.Zero(t, o%4, r.Name())
			require.Less(t, o, Offset(128<<10), r.Name())
			other, taken := at[o]
			require.False(t, taken, "%s and %s are both at %#x", r.Name(), other, o)
			at[o] = r.Name()
		}
	}
}

func TestNoFieldIsDeclaredTwiceOrOverlapsAnother(t *testing.T) {
	for _, row := range Table {
		var used uint32
		names := map[string]bool{}
		for _, f := range row.Fields() {
			require.False(t, names[f.Name], "%s appears twice", f)
			names[f.Name] = true
			require.LessOrEqual(t, f.Shift+f.Width, uint8(32), f)
			require.Zero(t, used&f.Mask(), "%s overlaps another field", f)
			used |= f.Mask()
			require.True(t, f.In(row.At(0)), f)
		}
	}
	require.False(t, CTRL_RST.In(STATUS))
}

// TestNamesAreThoseOfTheVariables compares the variables of table.go with the
// names in their declarations: X = one("X", ...), X_F = X.bit("F", ...).
func TestNamesAreThoseOfTheVariables(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "table.go", nil, 0)
	require.NoError(t, err)
	rows, fields := 0, 0
	check := func(variable string, call *ast.CallExpr) {
		name, err := strconv.Unquote(call.Args[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			require.Equal(t, name, variable)
			rows++
			return
		}
		fields++
		register := sel.X.(*ast.Ident).Name
		require.Equal(t, register+"_"+strings.TrimRight(name, "01"), strings.TrimRight(variable, "01"), "the field %s of %s", name, register)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		switch x := v.Values[0].(type) {
		case *ast.CallExpr:
			check(v.Names[0].Name, x)
		case *ast.CompositeLit:
			for _, e := range x.Elts {
				check(v.Names[0].Name, e.(*ast.CallExpr))
			}
		}
		return true
	})
	require.Equal(t, len(Table), rows)
	require.Greater(t, fields, 100)
}

func TestArraysCheckTheirIndex(t *testing.T) {
	for _, row := range Table {
		require.Panics(t, func() { row.At(-1) }, row.Name)
		require.Panics(t, func() { row.At(row.N()) }, row.Name)
	}
	require.PanicsWithValue(t, "reg: RXDCTL[128]: index out of range, 128 elements", func() { RXDCTL(128) })
}

func TestReceiveQueueRegistersSplitAtQueue64(t *testing.T) {
	for _, c := range []struct {
		r    Register
		at   Offset
		name string
	}{
		{RDBAL(0), 0x01000, "RDBAL[0]"},
		{RDBAL(63), 0x01fc0, "RDBAL[63]"},
		{RDBAL(64), 0x0d000, "RDBAL[64]"},
		{RXDCTL(127), 0x0dfe8, "RXDCTL[127]"},
		{RDT(63), 0x01fd8, "RDT[63]"},
		{RDT(64), 0x0d018, "RDT[64]"},
		{TDT(127), 0x07fd8, "TDT[127]"}, // transmit queues do not split
		{EITR(23), 0x0087c, "EITR[23]"},
		{EITR(24), 0x12300, "EITR[24]"},
		{EITR(63), 0x1239c, "EITR[63]"},
		{CTRL, 0, "CTRL"},
	} {
		require.Equal(t, c.at, c.r.Offset, c.name)
		require.Equal(t, c.name, c.r.Name())
	}
}

func TestReadingWithEffectIsMarked(t *testing.T) {
	for _, r := range []Register{SWSM, EICR, GPRC, QPRC(0), RXMPC(0), EIMC} {
		require.False(t, r.Row().Access.Readable(), r.Name())
	}
	for _, r := range []Register{CTRL, LINKS, RDT(0)} {
		require.True(t, r.Row().Access.Readable(), r.Name())
	}
}

func TestField(t *testing.T) {
	f := AUTOC_LMS
	require.Equal(t, []uint8{13, 3}, []uint8{f.Shift, f.Width})
	require.Equal(t, "AUTOC.LMS", f.String())
	require.Equal(t, uint32(0xe000), f.Mask())
	require.Equal(t, uint32(3), f.Of(0xffff_7fff))
	require.Equal(t, uint32(0x6000), f.Val(3))
	require.Equal(t, uint32(0xffff_7fff), f.Set(0xffff_ffff, 3))
	require.PanicsWithValue(t, "reg: AUTOC.LMS: value 0x8 does not fit 3 bits", func() { f.Val(8) })
	all := Field{Width: 32, row: CTRL.row}
	require.Equal(t, ^uint32(0), all.Mask())
	require.Equal(t, uint32(0xdeadbeef), all.Of(all.Val(0xdeadbeef)))
	require.Equal(t, uint32(1), EICR_OTHER.Of(1<<31))
	require.Equal(t, [4]uint32{0xf, 0xf00, 0xf0000, 0xf000000},
		[4]uint32{RETA_ENTRY[0].Mask(), RETA_ENTRY[1].Mask(), RETA_ENTRY[2].Mask(), RETA_ENTRY[3].Mask()})
}

package reg

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoRegisterIsDeclaredTwiceOrOutsideBAR0(t *testing.T) {
	at := map[Offset]string{}
	names := map[string]bool{}
	for _, row := range Table() {
		require.False(t, names[row.Name], "%s appears twice", row.Name)
		names[row.Name] = true
		require.NotEmpty(t, row.Section, row.Name)
		for i := range row.N {
			o := row.At(i)
			require.Zero(t, o%4, "%s[%d]", row.Name, i)
			require.Less(t, o, Offset(128<<10), "%s[%d]", row.Name, i)
			other, taken := at[o]
			require.False(t, taken, "%s[%d] and %s are both at %#x", row.Name, i, other, o)
			at[o] = row.Name
		}
	}
}

func TestArraysCheckTheirIndex(t *testing.T) {
	for _, row := range Table() {
		if row.N == 1 {
			continue
		}
		require.Panics(t, func() { row.At(-1) }, row.Name)
		require.Panics(t, func() { row.At(row.N) }, row.Name)
	}
}

func TestReceiveQueueRegistersSplitAtQueue64(t *testing.T) {
	require.Equal(t, Offset(0x01000), RDBAL(0))
	require.Equal(t, Offset(0x01fc0), RDBAL(63))
	require.Equal(t, Offset(0x0d000), RDBAL(64))
	require.Equal(t, Offset(0x0dfe8), RXDCTL(127))
	require.Equal(t, Offset(0x01fd8), RDT(63))
	require.Equal(t, Offset(0x0d018), RDT(64))
	require.Equal(t, Offset(0x07fd8), TDT(127), "transmit queues do not split")
}

func TestReadingWithEffectIsMarked(t *testing.T) {
	for _, row := range Table() {
		switch row.Name {
		case "SWSM", "EICR", "GPRC", "QPRC", "RXMPC", "EIMC":
			require.False(t, row.Access.Readable(), row.Name)
		case "CTRL", "LINKS", "RDT":
			require.True(t, row.Access.Readable(), row.Name)
		}
	}
}

func TestField(t *testing.T) {
	f := Bits(15, 13)
	require.Equal(t, uint32(0xe000), f.Mask())
	require.Equal(t, uint32(3), f.Of(0xffff_7fff))
	require.Equal(t, uint32(0x6000), f.Val(3))
	require.Equal(t, uint32(0xffff_7fff), f.Set(0xffff_ffff, 3))
	require.Panics(t, func() { f.Val(8) })
	all := Bits(31, 0)
	require.Equal(t, ^uint32(0), all.Mask())
	require.Equal(t, uint32(0xdeadbeef), all.Of(all.Val(0xdeadbeef)))
	require.Equal(t, uint32(1), Bit(31).Of(1<<31))
}

package sim

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// Registers that are accessed by calls are those that messages reach, of the port and of a
// virtual function. A device that is closed reads as all ones, and offsets are checked.
func TestRegistersByCallAndByMessageAreTheSame(t *testing.T) {
	port, err := Open("gen,count=1,vfs=1")
	require.NoError(t, err)
	function, err := port.NIC().ConnectVF(0, "vf")
	require.NoError(t, err)
	for _, d := range []*Device{function, port} {
		bar, err := d.BAR(0)
		require.NoError(t, err)
		register := txReg(0, qBAL)
		if d.virtual {
			register = 0x0820 // VTEITR
		}
		message := func() uint32 {
			var b [4]byte
			_, err := bar.ReadAt(b[:], int64(register))
			require.NoError(t, err)
			return binary.LittleEndian.Uint32(b[:])
		}
		bar.Store32(register, 0x5680)
		require.EqualValues(t, 0x5680, message())
		_, err = bar.WriteAt([]byte{0x80, 1, 0, 0}, int64(register))
		require.NoError(t, err)
		require.EqualValues(t, 0x0180, bar.Load32(register))
		if !d.virtual {
			bar.Store32(txReg(0, qTAIL), 7)
			require.EqualValues(t, 7, bar.Load32(txReg(0, qTAIL)))
		}
		for _, off := range []uint32{2, uint32(bar.Size()), 1<<32 - 4} {
			require.Panics(t, func() { bar.Load32(off) })
			require.Panics(t, func() { bar.Store32(off, 0) })
		}
		require.NoError(t, d.Close())
		require.EqualValues(t, uint32(1<<32-1), bar.Load32(register))
		bar.Store32(register, 0)
	}
}

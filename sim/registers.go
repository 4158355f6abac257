package sim

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim/server"
)

// registers is BAR 0 of a function for a client in this process. Registers are accessed by
// calls: a message takes ten microseconds and more, and reading a module's memory some
// thousand accesses. Tails are as for clients in other processes, and so are ReadAt and
// WriteAt.
type registers struct {
	pci.Region
	device interface{ Err() error }
	fn     server.Device
}

// Load32 implements pci.Region.
func (r registers) Load32(off uint32) uint32 {
	if !r.register(off) {
		return r.Region.Load32(off)
	}
	b := [4]byte{0xff, 0xff, 0xff, 0xff}
	_ = r.fn.ReadRegion(regionRegisters, uint64(off), b[:])
	return binary.LittleEndian.Uint32(b[:])
}

// Store32 implements pci.Region.
func (r registers) Store32(off, v uint32) {
	if !r.register(off) || isTail(off) {
		r.Region.Store32(off, v)
		return
	}
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	_ = r.fn.WriteRegion(regionRegisters, uint64(off), b[:])
}

// register reports whether a register can be accessed: the region panics at other offsets,
// and loads all ones from a device that is closed.
func (r registers) register(off uint32) bool {
	return off%4 == 0 && int64(off) <= r.Size()-4 && r.device.Err() == nil
}

// isTail reports whether a register may be the tail of a queue: the others at that offset are
// accessed by message, too.
func isTail(off uint32) bool { return off%qStride == qTAIL }

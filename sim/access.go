package sim

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/sim/server"
)

// VFIO region indices (vfio.h): BAR 0-5, ROM, configuration space.
const (
	regionRegisters = 0
	regionIO        = 2
	regionMSIX      = 4
	regionConfig    = 7
	regionCount     = 9
)

// Layout implements server.Device. The tail registers of all queues are
// doorbells. All other accesses are trapped, since registers that reading clears
// lie in the same pages.
func (n *NIC) Layout() server.Layout {
	l := server.Layout{
		Regions: make([]server.Region, regionCount),
		Vectors: []int{1, 1, vectors, 0, 0},
	}
	for region, size := range map[int]uint64{
		regionRegisters: bar0Size, regionIO: bar2Size, regionMSIX: bar4Size, regionConfig: configSize,
	} {
		l.Regions[region] = server.Region{Size: size, Readable: true, Writable: true}
	}
	l.Regions[regionRegisters].Doorbells = n.bells.layout()
	return l
}

// ReadRegion implements server.Device.
func (n *NIC) ReadRegion(region int, off uint64, p []byte) error {
	n.lock()
	defer n.mu.Unlock()
	if n.removed {
		for i := range p {
			p[i] = 0xff
		}
		return nil
	}
	switch region {
	case regionRegisters:
		return readWords(bar0Size, off, p, func(o uint32) uint32 { return n.load(o) })
	case regionIO:
		return readWords(bar2Size, off, p, n.readIO)
	case regionMSIX:
		return copyOut(p, n.msix[:], off)
	case regionConfig:
		return n.readConfig(off, p)
	}
	return fmt.Errorf("read region %d: the function has no such region: %w", region, unix.EINVAL)
}

func copyOut(p, b []byte, off uint64) error {
	if off > uint64(len(b)) || uint64(len(p)) > uint64(len(b))-off {
		return fmt.Errorf("access %d bytes at %#x: outside the region: %w", len(p), off, unix.EINVAL)
	}
	copy(p, b[off:])
	return nil
}

// readWords reads 32-bit registers, or a part of one, into p.
func readWords(size, off uint64, p []byte, load func(uint32) uint32) error {
	if off > size || uint64(len(p)) > size-off {
		return fmt.Errorf("read %d bytes at %#x: outside the region: %w", len(p), off, unix.EINVAL)
	}
	for i := 0; i < len(p); {
		at := off + uint64(i)
		var w [4]byte
		binary.LittleEndian.PutUint32(w[:], load(uint32(at&^3)))
		i += copy(p[i:], w[at&3:])
	}
	return nil
}

// WriteRegion implements server.Device. Registers take whole words: the 82599
// ignores partial writes.
func (n *NIC) WriteRegion(region int, off uint64, p []byte) error {
	err := n.writeRegion(region, off, p)
	n.wake()
	return err
}

func (n *NIC) writeRegion(region int, off uint64, p []byte) error {
	n.lock()
	defer n.mu.Unlock()
	if n.removed {
		return nil
	}
	switch region {
	case regionRegisters, regionIO:
		size := uint64(bar0Size)
		store := n.store
		if region == regionIO {
			size, store = bar2Size, n.writeIO
		}
		return writeWords(size, off, p, store)
	case regionMSIX:
		return writeTable(n.msix[:], vectors*16, off, p)
	case regionConfig:
		if off > configSize || uint64(len(p)) > configSize-off {
			return fmt.Errorf("write %d bytes at %#x: outside the region: %w", len(p), off, unix.EINVAL)
		}
		n.writeConfig(int(off), p)
		return nil
	}
	return fmt.Errorf("write region %d: the function has no such region: %w", region, unix.EINVAL)
}

// writeWords writes 32-bit registers.
func writeWords(size, off uint64, p []byte, store func(off, v uint32)) error {
	if off%4 != 0 || len(p)%4 != 0 || off > size || uint64(len(p)) > size-off {
		return fmt.Errorf("write %d bytes at %#x: registers take aligned 32-bit words: %w", len(p), off, unix.EINVAL)
	}
	for i := 0; i < len(p); i += 4 {
		store(uint32(off)+uint32(i), binary.LittleEndian.Uint32(p[i:]))
	}
	return nil
}

// writeTable writes the MSI-X table, the first size bytes of its BAR. The pending
// bits behind it are read-only.
func writeTable(bar []byte, size int, off uint64, p []byte) error {
	if off > uint64(len(bar)) || uint64(len(p)) > uint64(len(bar))-off {
		return fmt.Errorf("write %d bytes at %#x: outside the region: %w", len(p), off, unix.EINVAL)
	}
	if off < uint64(size) {
		copy(bar[off:size], p)
	}
	return nil
}

// readIO and writeIO are the I/O BAR: an address register (IOADDR) and a window
// on the register that it selects (IODATA).
func (n *NIC) readIO(off uint32) uint32 {
	switch off {
	case 0:
		return n.ioaddr
	case 4:
		if n.ioaddr < bar0Size {
			return n.load(n.ioaddr &^ 3)
		}
	}
	return 0
}

func (n *NIC) writeIO(off, v uint32) {
	switch off {
	case 0:
		n.ioaddr = v
	case 4:
		if n.ioaddr < bar0Size {
			n.store(n.ioaddr&^3, v)
		}
	}
}

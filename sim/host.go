package sim

import "encoding/binary"

// The model reaches the host's memory through windows: for each 2 MiB of
// addresses the piece around the last access that lies within one mapping,
// remembered until the map may change (Quiesce). Memory that is not shared is
// reached by message.

const (
	windowBits  = 21
	windowCount = 128
	windowPage  = 4096
)

// window is host memory at [base, base+len(mem)).
type window struct {
	base uint64
	mem  []byte
}

// at is the window's memory from iova on, nil when [iova, iova+size) is not in it.
func (w *window) at(iova uint64, size int) []byte {
	off := iova - w.base
	if off >= uint64(len(w.mem)) || uint64(size) > uint64(len(w.mem))-off {
		return nil
	}
	return w.mem[off : off+uint64(size)]
}

type windows [windowCount]window

func (w *windows) slot(iova uint64) *window { return &w[iova>>windowBits&(windowCount-1)] }

// dmaCache remembers windows by direction.
type dmaCache struct {
	readable, writable windows
	used               bool
}

func (c *dmaCache) forget() {
	if c.used {
		*c = dmaCache{}
	}
}

// writable returns size bytes of host memory that the device may write, nil
// where they are not shared or not mapped.
func (n *NIC) writable(iova uint64, size int) []byte {
	w := n.mem.writable.slot(iova)
	if b := w.at(iova, size); b != nil {
		return b
	}
	return n.lookup(w, iova, size, true)
}

// readable is the same for memory that the device reads.
func (n *NIC) readable(iova uint64, size int) []byte {
	w := n.mem.readable.slot(iova)
	if b := w.at(iova, size); b != nil {
		return b
	}
	return n.lookup(w, iova, size, false)
}

// lookup finds the largest window around iova: from its page on it grows in
// both directions, first by halves of the 2 MiB, then by ever less.
func (n *NIC) lookup(w *window, iova uint64, size int, write bool) []byte {
	if size <= 0 || iova+uint64(size) < iova {
		return nil
	}
	n.mem.used = true
	first := iova &^ (1<<windowBits - 1)
	last := first + 1<<windowBits
	base, end := iova&^(windowPage-1), iova&^(windowPage-1)+windowPage
	if n.host.Bytes(base, windowPage, write) != nil && last > first {
		for step := uint64(1 << (windowBits - 1)); step >= windowPage; step >>= 1 {
			for base-first >= step && n.host.Bytes(base-step, int(end-base+step), write) != nil {
				base -= step
			}
			for last-end >= step && n.host.Bytes(base, int(end-base+step), write) != nil {
				end += step
			}
		}
		*w = window{base, n.host.Bytes(base, int(end-base), write)}
		if b := w.at(iova, size); b != nil {
			return b
		}
	}
	return n.host.Bytes(iova, size, write)
}

// dmaRead copies from the host's memory.
func (n *NIC) dmaRead(iova uint64, p []byte) error {
	if b := n.readable(iova, len(p)); b != nil {
		copy(p, b)
		return nil
	}
	return n.host.ReadDMA(iova, p)
}

// dmaWrite copies to the host's memory.
func (n *NIC) dmaWrite(iova uint64, p []byte) error {
	if b := n.writable(iova, len(p)); b != nil {
		copy(b, p)
		return nil
	}
	return n.host.WriteDMA(iova, p)
}

// ring is a descriptor ring in the host's memory: descriptors of two 64-bit
// words.
type ring struct {
	base uint64
	size uint32   // descriptors
	mem  []uint64 // all of it where it is shared and in one mapping, else nil
	slow bool     // mem was looked for and is not to be had
}

// prepare finds the ring's memory once per change of the DMA map.
func (r *ring) prepare(n *NIC) {
	if r.mem != nil || r.slow || n.cfg.Faults.NoWriteBack {
		return
	}
	if b := n.host.Bytes(r.base, int(r.size)*16, true); b != nil {
		r.mem = asWords(b)
	}
	r.slow = r.mem == nil
}

func (r *ring) forget() { r.mem, r.slow = nil, false }

// fetch reads a descriptor. The acquire is the driver's tail write, which was
// seen before any descriptor below it is read.
func (r *ring) fetch(n *NIC, i uint32) (lo, hi uint64, err error) {
	if r.mem != nil {
		return r.mem[2*i], r.mem[2*i+1], nil
	}
	var d [16]byte
	if err := n.dmaRead(r.base+uint64(i)*16, d[:]); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint64(d[:]), binary.LittleEndian.Uint64(d[8:]), nil
}

// writeBack stores a finished descriptor: the low word first, then the high one
// with DD and the length in one store with release order, which pairs with the
// driver's acquiring load of DD. Everything written for the frame before is
// visible to who sees DD.
func (r *ring) writeBack(n *NIC, i uint32, lo, hi uint64) error {
	if n.cfg.Faults.NoWriteBack {
		return nil
	}
	if r.mem != nil {
		r.mem[2*i] = lo
		storeRelease(&r.mem[2*i+1], hi)
		return nil
	}
	var d [8]byte
	binary.LittleEndian.PutUint64(d[:], lo)
	if err := n.host.WriteDMA(r.base+uint64(i)*16, d[:]); err != nil {
		return err
	}
	return r.writeBackHigh(n, i, hi)
}

// writeBackHigh stores the high word only, as transmit and legacy descriptors
// are written back.
func (r *ring) writeBackHigh(n *NIC, i uint32, hi uint64) error {
	if n.cfg.Faults.NoWriteBack {
		return nil
	}
	if r.mem != nil {
		storeRelease(&r.mem[2*i+1], hi)
		return nil
	}
	var d [8]byte
	binary.LittleEndian.PutUint64(d[:], hi)
	return n.host.WriteDMA(r.base+uint64(i)*16+8, d[:])
}

package sim

import "encoding/binary"

// The model accesses host memory through windows. A window is the piece of 2 MiB
// of addresses around the last access that lies within one mapping; it is cached
// until the DMA map can change (Quiesce). Memory that is not shared is accessed by
// message.

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

// at returns the window's memory from iova on, nil when [iova, iova+size) is not
// in it.
func (w *window) at(iova uint64, size int) []byte {
	off := iova - w.base
	if off >= uint64(len(w.mem)) || uint64(size) > uint64(len(w.mem))-off {
		return nil
	}
	return w.mem[off : off+uint64(size)]
}

type windows [windowCount]window

func (w *windows) slot(iova uint64) *window { return &w[iova>>windowBits&(windowCount-1)] }

// dmaCache holds windows by direction.
type dmaCache struct {
	readable, writable windows
	used               bool
}

func (c *dmaCache) invalidate() {
	if c.used {
		*c = dmaCache{}
	}
}

// writable returns size bytes of host memory that the device may write. It
// returns nil where they are not shared or not mapped.
func (p *function) writable(iova uint64, size int) []byte {
	w := p.mem.writable.slot(iova)
	if b := w.at(iova, size); b != nil {
		return b
	}
	return p.lookup(w, iova, size, true)
}

// readable is writable for memory that the device may read.
func (p *function) readable(iova uint64, size int) []byte {
	w := p.mem.readable.slot(iova)
	if b := w.at(iova, size); b != nil {
		return b
	}
	return p.lookup(w, iova, size, false)
}

// lookup replaces w by the largest window around iova. It starts with iova's page
// and grows in both directions by 1 MiB, then by half of that, down to a page.
func (p *function) lookup(w *window, iova uint64, size int, write bool) []byte {
	if size <= 0 || iova+uint64(size) < iova {
		return nil
	}
	p.mem.used = true
	first := iova &^ (1<<windowBits - 1)
	last := first + 1<<windowBits
	base, end := iova&^(windowPage-1), iova&^(windowPage-1)+windowPage
	if p.host.Bytes(base, windowPage, write) != nil && last > first {
		for step := uint64(1 << (windowBits - 1)); step >= windowPage; step >>= 1 {
			for base-first >= step && p.host.Bytes(base-step, int(end-base+step), write) != nil {
				base -= step
			}
			for last-end >= step && p.host.Bytes(base, int(end-base+step), write) != nil {
				end += step
			}
		}
		*w = window{base, p.host.Bytes(base, int(end-base), write)}
		if b := w.at(iova, size); b != nil {
			return b
		}
	}
	return p.host.Bytes(iova, size, write)
}

// dmaRead copies from the host's memory.
func (p *function) dmaRead(iova uint64, b []byte) error {
	if m := p.readable(iova, len(b)); m != nil {
		copy(b, m)
		return nil
	}
	return p.host.ReadDMA(iova, b)
}

// dmaWrite copies to the host's memory.
func (p *function) dmaWrite(iova uint64, b []byte) error {
	if m := p.writable(iova, len(b)); m != nil {
		copy(m, b)
		return nil
	}
	return p.host.WriteDMA(iova, b)
}

// ring is a descriptor ring in the host's memory: descriptors of two 64-bit
// words.
type ring struct {
	fn   *function // whose memory it lies in; nil until the queue is enabled
	base uint64
	size uint32   // descriptors
	mem  []uint64 // the whole ring where it is shared and in one mapping, else nil
	slow bool     // mem is not available: access by copies or messages
}

// prepare sets mem, once per change of the DMA map.
func (r *ring) prepare(n *NIC) {
	if r.mem != nil || r.slow || n.cfg.Faults.NoWriteBack {
		return
	}
	if b := r.fn.host.Bytes(r.base, int(r.size)*16, true); b != nil {
		r.mem = asWords(b)
	}
	r.slow = r.mem == nil
}

func (r *ring) invalidate() { r.mem, r.slow = nil, false }

// fetch reads descriptor i, which lies below the tail loaded by A1, after that
// load.
func (r *ring) fetch(n *NIC, i uint32) (lo, hi uint64, err error) {
	if r.mem != nil {
		return r.mem[2*i], r.mem[2*i+1], nil
	}
	var d [16]byte
	if err := r.fn.dmaRead(r.base+uint64(i)*16, d[:]); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint64(d[:]), binary.LittleEndian.Uint64(d[8:]), nil
}

// writeBack stores a finished descriptor: the low word, then the high word with DD
// and the length. R1: the store of the high word releases; it pairs with the
// driver's load of DD (acquire), which then sees the frame.
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
	if err := r.fn.host.WriteDMA(r.base+uint64(i)*16, d[:]); err != nil {
		return err
	}
	return r.writeBackHigh(n, i, hi)
}

// writeBackHigh stores the high word only (R1), as transmit and legacy
// descriptors are written back.
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
	return r.fn.host.WriteDMA(r.base+uint64(i)*16+8, d[:])
}

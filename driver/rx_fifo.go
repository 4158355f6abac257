package driver

import (
	"math/bits"

	"github.com/ixcap/ixcap/ring"
)

// RxFIFO is an RxPool whose parts are recycled in the order in which they were captured, so
// that the pool's buffers are used in turn. One goroutine at a time uses it. It implements
// the methods of capture.Pooled but Pool.
type RxFIFO struct {
	*RxPool
	parts []Chunk // a ring: those captured and not recycled
	first uint64  // counted from the begin
	next  uint64
}

// NewRxFIFO returns a queue over a pool, which has no other user.
func NewRxFIFO(p *RxPool) *RxFIFO {
	return &RxFIFO{RxPool: p, parts: make([]Chunk, 1<<bits.Len(uint(p.Chunks()*p.ChunkSize()-1)))}
}

func (f *RxFIFO) at(n uint64) *Chunk { return &f.parts[n&uint64(len(f.parts)-1)] }

// Poll captures what has arrived, up to len(frames) of one chunk, as a part.
func (f *RxFIFO) Poll(frames []ring.Frame) int {
	c, n := f.Capture(frames, true)
	if n > 0 {
		*f.at(f.next) = c
		f.next++
	}
	return n
}

// Release does nothing: frames stay until Recycle.
func (f *RxFIFO) Release() {}

// Take takes the frames in the first n descriptors of a Run as RxPool.Take does.
func (f *RxFIFO) Take(n int) (added bool) {
	if f.next != f.first && f.Extend(f.at(f.next-1), n) {
		return true
	}
	*f.at(f.next) = f.RxPool.Take(n)
	f.next++
	return false
}

// Needs returns how many buffers are to be recycled: none while at least two chunks are
// empty, then as many as make four, since two cost hardly more than one. More would only
// shorten the time for which frames stay readable, and so would that in a small pool.
func (f *RxFIFO) Needs() int {
	const low, more, small = 2, 2, 4
	if empty := f.Empty(); empty < low {
		high := low + min(more, (f.Chunks()-f.segments())/small)
		return (max(high, low) - empty) * f.ChunkSize()
	}
	return 0
}

func (f *RxFIFO) segments() int { return len(f.q.attached) }

// Recycle recycles the n oldest parts, or all.
func (f *RxFIFO) Recycle(n int) {
	for range min(uint64(n), f.next-f.first) {
		// The part is the pool's, and is recycled once: there is no error.
		_ = f.RxPool.Recycle(*f.at(f.first))
		f.first++
	}
}

package nic

import (
	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
)

// pooled is a receive queue with a ring-buffer pool as a capture.Source. Chunks are recycled
// in the order in which they were captured, so the pool's buffers are used in turn.
type pooled struct {
	*driver.RxPool
	cfg    driver.Config
	chunks []driver.Chunk // a ring: those captured and not recycled
	first  uint64
	next   uint64
}

var _ interface {
	capture.Pooled
	capture.Sleeper
	capture.Ring
} = (*pooled)(nil)

func newPooled(p *driver.RxPool, cfg driver.Config) *pooled {
	return &pooled{RxPool: p, cfg: cfg, chunks: make([]driver.Chunk, p.Chunks()*p.ChunkSize())}
}

// Poll implements capture.Source.
func (p *pooled) Poll(frames []ring.Frame) int {
	c, n := p.Capture(frames, true)
	if n > 0 {
		p.chunks[p.next%uint64(len(p.chunks))] = c
		p.next++
	}
	return n
}

// Release implements capture.Source: frames stay until Recycle.
func (p *pooled) Release() {}

// Size implements capture.Ring.
func (p *pooled) Size() int { return p.cfg.RingSize }

// Pool implements capture.Pooled.
func (p *pooled) Pool() stream.Pool {
	return stream.Pool{
		Memory: p.Memory(), Buffers: p.Chunks() * p.ChunkSize(), Stride: p.Stride(),
		Headroom: driver.Headroom, BufferSize: p.cfg.BufferSize,
	}
}

// Needs implements capture.Pooled: two chunks are empty, more would only shorten the
// history.
func (p *pooled) Needs() int {
	const empty = 2
	return max(0, empty-p.Empty()) * p.ChunkSize()
}

// Recycle implements capture.Pooled.
func (p *pooled) Recycle(n int) {
	for range min(uint64(n), p.next-p.first) {
		// The chunk is the pool's, and is recycled once: there is no error.
		_ = p.RxPool.Recycle(p.chunks[p.first%uint64(len(p.chunks))])
		p.first++
	}
}

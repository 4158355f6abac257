package nic

import (
	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
)

// pooled is a receive queue with a ring-buffer pool as a capture.Source.
type pooled struct {
	*driver.RxFIFO
	cfg driver.Config
}

var _ interface {
	capture.Pooled
	capture.Sleeper
	capture.Ring
} = (*pooled)(nil)

func newPooled(p *driver.RxPool, cfg driver.Config) *pooled {
	return &pooled{driver.NewRxFIFO(p), cfg}
}

// Size implements capture.Ring.
func (p *pooled) Size() int { return p.cfg.RingSize }

// Pool implements capture.Pooled.
func (p *pooled) Pool() stream.Pool {
	return stream.Pool{
		Memory: p.Memory(), Buffers: p.Chunks() * p.ChunkSize(), Stride: p.Stride(),
		Headroom: driver.Headroom, BufferSize: p.cfg.BufferSize,
	}
}

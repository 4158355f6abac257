package capture

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/units"
)

// PoolAccount describes the ring-buffer pool of a queue, whose frames are not copied.
type PoolAccount struct {
	Chunks    int   `json:"chunks"`     // of the pool (R)
	ChunkSize int   `json:"chunk_size"` // packet buffers of a chunk (M)
	Bytes     int64 `json:"bytes"`      // memory of the buffers

	// Depth is how long the pool takes the shortest frames at the port's line rate if
	// listeners hold all of them; 0: the rate is not known.
	Depth time.Duration `json:"depth_ns"`
}

// Pool returns the ring-buffer pool of a queue; nil: its frames are copied.
func (e *Engine) Pool(queue int) *PoolAccount {
	p, ok := e.sources[queue].(Pooled)
	if !ok {
		return nil
	}
	a := &PoolAccount{Chunks: p.Chunks(), ChunkSize: p.ChunkSize(), Bytes: int64(e.streams[queue].BufferBytes())}
	if l, ok := e.port.(Limited); ok && l.Limits().LineRate > 0 {
		a.Depth = p.Depth(l.Limits().LineRate)
	}
	return a
}

// String is "512 chunks of 256 packet buffers, 264.0 MiB: 8.81ms of the shortest frames at line rate".
func (a *PoolAccount) String() string {
	text := fmt.Sprintf("%s of %s, %.1f MiB", units.Plural(a.Chunks, "chunk"), units.Plural(a.ChunkSize, "packet buffer"), float64(a.Bytes)/(1<<20))
	if a.Depth > 0 {
		text += fmt.Sprintf(": %v of the shortest frames at line rate", sched.Short(a.Depth))
	}
	return text
}

// logPools says how deep the queues' pools are.
func (e *Engine) logPools() {
	if a := e.Pool(0); a != nil {
		e.cfg.Logger.Info(fmt.Sprintf("zero copy: frames stay in the packet buffers, each queue has a pool of %v", a))
	}
}

package buddy

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ixcap/ixcap/driver"
)

// MaxQueues is the largest number of queues of a group: as many as RSS reaches.
const MaxQueues = driver.MaxRSSQueues

// Thresholds of a Config without one. Moving a flow takes effect only when what waits of it is
// worked off, so it begins early.
const (
	DefaultThreshold     = 0.6
	DefaultFlowThreshold = 0.1 // mode Flows
)

// Mode is what a group moves from a queue with a long backlog.
type Mode uint8

// Modes.
const (
	Chunks Mode = iota // whole chunks, to the shortest queue; flows may lose their order
	Flows              // whole flows, which keep their order
	Basic              // nothing
)

var modes = [...]string{"chunks", "flows", "basic"}

// String returns the name of the mode.
func (m Mode) String() string {
	if int(m) < len(modes) {
		return modes[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Config of a Group. Zero values stand for the defaults.
type Config struct {
	Mode Mode

	// Threshold is T, the part of the length of a capture queue above which its backlog
	// makes the group move what is captured: above 0, up to 1. Default DefaultThreshold or
	// DefaultFlowThreshold.
	Threshold float64
}

// ErrClosed is returned for a queue that was closed before.
var ErrClosed = errors.New("the queue is closed")

// Group is a buddy group: the receive queues that one application reads.
type Group struct {
	mode   Mode
	queues []*Queue
	draws  []float32 // of buckets, see drawsOf
	open   atomic.Int32

	// closings counts the queues that were closed. A change makes consumers look for
	// capture queues without one.
	closings atomic.Uint32
}

// New returns a group of the receive queues with these pools, which may be of several ports. No
// pool may be captured from but by the group.
func New(cfg Config, pools ...*driver.RxPool) (*Group, error) {
	switch {
	case cfg.Threshold == 0 && cfg.Mode == Flows:
		cfg.Threshold = DefaultFlowThreshold
	case cfg.Threshold == 0:
		cfg.Threshold = DefaultThreshold
	}
	switch {
	case int(cfg.Mode) >= len(modes):
		return nil, fmt.Errorf("buddy group: %v: want chunks, flows or basic", cfg.Mode)
	case !(cfg.Threshold > 0 && cfg.Threshold <= 1):
		return nil, fmt.Errorf("buddy group: threshold %v: want above 0, up to 1", cfg.Threshold)
	case len(pools) < 1 || len(pools) > MaxQueues:
		return nil, fmt.Errorf("buddy group: %d queues: want 1 to %d", len(pools), MaxQueues)
	}
	g := &Group{mode: cfg.Mode}
	if g.mode == Flows {
		g.draws = drawsOf(len(pools))
	}
	for i, pool := range pools {
		if pool == nil {
			return nil, fmt.Errorf("buddy group: queue %d has no ring-buffer pool: open its port with Chunks", i)
		}
		for _, q := range g.queues {
			if q.pool == pool {
				return nil, fmt.Errorf("buddy group: queues %d and %d have the same pool", q.index, i)
			}
		}
		g.queues = append(g.queues, newQueue(g, i, pool, cfg.Threshold))
	}
	for _, q := range g.queues {
		q.connect()
	}
	g.open.Store(int32(len(pools)))
	return g, nil
}

// Queue returns queue i, in the order of New.
func (g *Group) Queue(i int) *Queue { return g.queues[i] }

// Queues returns the number of queues.
func (g *Group) Queues() int { return len(g.queues) }

// Mode returns the mode of the group.
func (g *Group) Mode() Mode { return g.mode }

// Recycle returns a chunk to the pool that has received it, whichever queue it was taken from.
// Its frames must not be used any more. Any goroutine may call it, in any order. It fails for
// a chunk that was recycled before (driver.ErrRecycled) or is of another group
// (driver.ErrForeignChunk), without effect.
func (g *Group) Recycle(c Chunk) error {
	switch {
	case c.v == nil || c.v.home.group != g:
		return fmt.Errorf("recycle chunk %d: %w", c.number, driver.ErrForeignChunk)
	case !c.v.number.CompareAndSwap(c.number, 0):
		return fmt.Errorf("recycle chunk %d of queue %d: %w", c.number, c.v.home.index, driver.ErrRecycled)
	}
	return c.v.recycle()
}

// Close closes all queues and recycles the chunks that wait in them. No goroutine may use
// Capture and Next any more. Chunks that consumers have taken are recycled by Recycle as
// before, also once the ports are closed.
func (g *Group) Close() (err error) {
	for _, q := range g.queues {
		if !q.closed.Swap(true) {
			g.open.Add(-1)
		}
	}
	for _, q := range g.queues {
		for _, r := range q.rings {
			for v := r.first(); v != nil; v = r.first() {
				r.pop(v)
				q.discarded.Add(uint64(len(v.frames)))
				v.number.Store(0)
				err = errors.Join(err, v.recycle())
			}
		}
	}
	return err
}

// Stats are the counts of a queue. They only grow, except for Waiting and Backlog.
type Stats struct {
	// Of the receive queue: what was captured, and of that what was moved to the capture
	// queues of others, and recycled. Chunks are those of the driver, moved ones views.
	Chunks, Frames           uint64
	MovedChunks, MovedFrames uint64
	MovedFlows               uint64 // times that a bucket of flows has changed its capture queue
	Recycled                 uint64 // frames

	// Of the capture queue: frames that were placed on it, that its consumer, or one that
	// took its place, has taken, that the group's Close has recycled, and that wait.
	Placed, Taken, Discarded, Waiting uint64

	// Backlog is the packet buffers of what waits in the capture queue.
	Backlog, MaxBacklog uint64

	// Reclaimed is the frames that Close of the queue has recycled because its consumer had
	// taken them and not recycled them.
	Reclaimed uint64
}

// Stats returns the counts of each queue.
func (g *Group) Stats() []Stats {
	all := make([]Stats, len(g.queues))
	for i, q := range g.queues {
		all[i] = Stats{
			Chunks: q.chunks.Load(), Frames: q.captured.Load(),
			MovedChunks: q.movedChunks.Load(), MovedFrames: q.movedFrames.Load(), MovedFlows: q.movedFlows.Load(),
			Recycled: q.recycled.Load(), Placed: q.placed.Load(), Taken: q.taken.Load(), Discarded: q.discarded.Load(),
			Waiting: uint64(max(0, q.waiting.Load())), Backlog: uint64(max(0, q.backlog.Load())), MaxBacklog: uint64(q.maxBacklog.Load()),
			Reclaimed: q.reclaimed.Load(),
		}
	}
	return all
}

// Balanced checks the counts of all queues of a group, taken while no goroutine captures or
// takes: each frame captured was placed once, and each one placed was taken, was discarded,
// or waits.
func Balanced(all []Stats) error {
	var captured, placed, gone uint64
	for i, s := range all {
		captured += s.Frames
		placed += s.Placed
		gone += s.Taken + s.Discarded
		if s.Placed != s.Taken+s.Discarded+s.Waiting {
			return fmt.Errorf("queue %d: %d frames placed, %d taken, %d discarded, %d waiting", i, s.Placed, s.Taken, s.Discarded, s.Waiting)
		}
		if s.Recycled > s.Frames || s.MovedFrames > s.Frames {
			return fmt.Errorf("queue %d: %d frames captured, %d moved, %d recycled", i, s.Frames, s.MovedFrames, s.Recycled)
		}
	}
	if captured != placed || gone > placed {
		return fmt.Errorf("buddy group: %d frames captured, %d placed, %d taken or discarded", captured, placed, gone)
	}
	return nil
}

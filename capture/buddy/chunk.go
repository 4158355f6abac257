package buddy

import (
	"sync/atomic"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
)

// Chunk is what a consumer takes and recycles: a chunk of packet buffers, a part of one that
// was not full, or a view of one that has some of its frames. It is a plain value.
type Chunk struct {
	v      *view
	number uint64
}

// Frames returns the frames. They are the caller's, to read and to change, until Recycle.
func (c Chunk) Frames() []ring.Frame { return c.v.frames }

// Queue returns the queue of the group that has received the frames. Their buffers are those
// of its pool.
func (c Chunk) Queue() int { return c.v.home.index }

// Moved reports whether the chunk was placed on the capture queue of another queue than the one
// that has received it.
func (c Chunk) Moved() bool { return c.v.target != c.v.home }

// Number returns the number of the chunk among those of its receive queue, in the order of their
// capture, from 1 on. Views have numbers of their own.
func (c Chunk) Number() uint64 { return c.number }

// view is the state of a Chunk. The one at place b of a queue's table has a frame in buffer b
// or behind, and no other is there until that buffer was recycled.
type view struct {
	// number is that of the Chunk, 0 once it is recycled. The store in place is the release
	// R1 of the other fields, pairs with A1 in Queue.Close.
	number atomic.Uint64
	taker  atomic.Int32 // index + 1 of the queue whose consumer has it; 0: it waits

	left  atomic.Int32 // views of the part that are not recycled; of its first view
	part  *view        // that is the first one
	chunk driver.Chunk // of the first view

	home, target *Queue
	frames       []ring.Frame
	buffers      int64
	epoch, after uint64 // its own, and the one that must be empty before; 0: none
}

// recycle recycles a view whose number was cleared.
func (v *view) recycle() error {
	home, part := v.home, v.part
	home.recycled.Add(uint64(len(v.frames)))
	if v.epoch != 0 {
		home.epochs.out(v.epoch).Add(-1)
	}
	if part.left.Add(-1) != 0 {
		return nil // v may be in use again
	}
	return home.pool.Recycle(part.chunk)
}

// viewRing holds the views of a receive queue that wait in a capture queue. Its capacity is all
// that the receive queue's pool can have, so it is never full.
type viewRing struct {
	source, target *Queue
	slots          []uint32 // places of views in the source's table

	_    [64]byte // what one side writes has cache lines of its own
	tail atomic.Uint64
	_    [56]byte
	head atomic.Uint64

	// consumer is index + 1 of the queue whose consumer takes from the ring, 0 if it was
	// closed. The release R3 in Queue.Close pairs with A3 in adopt.
	consumer atomic.Int32
	_        [52]byte
}

// push appends a view.
func (r *viewRing) push(place uint32) {
	tail := r.tail.Load()
	r.slots[tail&uint64(len(r.slots)-1)] = place
	r.tail.Store(tail + 1) // release R2, pairs with A2 in first
}

// first returns the view that has waited longest, nil if none does.
func (r *viewRing) first() *view {
	head := r.head.Load()
	if head == r.tail.Load() { // acquire A2
		return nil
	}
	return &r.source.views[r.slots[head&uint64(len(r.slots)-1)]]
}

// pop removes the first view.
func (r *viewRing) pop(v *view) {
	r.head.Store(r.head.Load() + 1)
	r.target.backlog.Add(-v.buffers)
	r.target.waiting.Add(-int64(len(v.frames)))
}

package buddy

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
)

// Queue is a receive queue of a group and its capture queue.
type Queue struct {
	group  *Group
	index  int
	pool   *driver.RxPool
	length int64 // of the capture queue, in buffers
	limit  int64 // T of it
	rings  []*viewRing
	closed atomic.Bool

	// The capture thread's: the frames and views of each buffer of the pool.
	frames []ring.Frame
	views  []view
	number uint64
	begun  int    // chunk of the last part that was captured
	target *Queue // and its capture queue
	flows  *flows // mode Flows

	epochs epochs // mode Flows

	// The consumer's.
	inputs []*viewRing
	turn   int    // of the inputs
	seen   uint32 // Group.closings

	// Of the capture queue, written by all threads.
	_                   [64]byte
	backlog, maxBacklog atomic.Int64
	waiting             atomic.Int64
	placed              atomic.Uint64
	_                   [64]byte

	// Of the receive queue, by its capture thread.
	chunks, captured, movedChunks, movedFrames, movedFlows atomic.Uint64
	_                                                      [64]byte

	// By consumers.
	taken, discarded, reclaimed atomic.Uint64
	_                           [64]byte
	recycled                    atomic.Uint64
}

func newQueue(g *Group, index int, pool *driver.RxPool, threshold float64) *Queue {
	n := pool.Chunks() * pool.ChunkSize()
	q := &Queue{
		group: g, index: index, pool: pool, length: int64(n), limit: int64(threshold * float64(n)),
		frames: make([]ring.Frame, n), views: make([]view, n), begun: -1,
	}
	if g.mode == Flows {
		q.flows = newFlows(q)
		q.epochs.begin()
	}
	return q
}

// connect makes the rings of the capture queue.
func (q *Queue) connect() {
	all := q.group.queues
	q.inputs = make([]*viewRing, 0, len(all)*len(all))
	for _, source := range all {
		r := &viewRing{source: source, target: q, slots: make([]uint32, 1<<bits.Len64(uint64(source.length)))}
		r.consumer.Store(int32(q.index + 1))
		q.rings = append(q.rings, r)
	}
	q.inputs = append(q.inputs, q.rings...)
}

// Pool returns the pool of the receive queue.
func (q *Queue) Pool() *driver.RxPool { return q.pool }

// Capture captures frames from the receive queue, at most those of one chunk, places them on
// capture queues of the group, and returns their number. With partly, it takes what has
// arrived; without, only a chunk whose buffers are all filled (see RxPool.Capture). It
// captures nothing while all queues are closed.
func (q *Queue) Capture(partly bool) int {
	at, room := q.pool.Position()
	if q.group.open.Load() == 0 {
		room = 0
	}
	chunk, n := q.pool.Capture(q.frames[at:at+uint32(room)], partly)
	if n == 0 {
		return 0
	}
	q.chunks.Add(1)
	q.captured.Add(uint64(n))
	if q.flows != nil {
		q.placeFlows(chunk, at, n)
		return n
	}
	first := &q.views[at]
	first.chunk = chunk
	first.left.Store(1)
	// The parts of a chunk stay together, since the pool has it back when all of them are.
	if chunk.First() == 0 || chunk.ID() != q.begun || q.target.closed.Load() {
		q.begun, q.target = chunk.ID(), q.choose()
	}
	q.place(first, at, at, n, int64(chunk.Buffers()), q.target, 0)
	return n
}

// above reports whether the backlog of the capture queue is above T.
func (q *Queue) above() bool { return q.backlog.Load() > q.limit }

// choose selects the capture queue for a chunk: the receive queue's own, or, if its backlog is
// above T, the shortest one of the group.
func (q *Queue) choose() *Queue {
	closed := q.closed.Load()
	if !closed && (q.group.mode == Basic || !q.above()) {
		return q
	}
	shortest, least := q, q.backlog.Load()
	for _, other := range q.group.queues {
		if other == q || other.closed.Load() {
			continue
		}
		if n := other.backlog.Load(); closed || n < least {
			shortest, least, closed = other, n, false
		}
	}
	return shortest
}

// place places n frames from the given place of the table on, as a view of the part whose
// first view is given, on a capture queue.
func (q *Queue) place(part *view, at, place uint32, n int, buffers int64, target *Queue, after uint64) {
	v := &q.views[place]
	v.part, v.home, v.target = part, q, target
	v.frames = q.frames[place : int(place)+n : int(place)+n]
	v.buffers, v.after = buffers, after
	if q.flows != nil {
		v.epoch = q.epochs.current.Load()
		q.epochs.out(v.epoch).Add(1)
	}
	if target != q {
		q.movedChunks.Add(1)
		q.movedFrames.Add(uint64(n))
	}
	target.placed.Add(uint64(n))
	target.waiting.Add(int64(n))
	backlog := target.backlog.Add(buffers)
	for most := target.maxBacklog.Load(); backlog > most && !target.maxBacklog.CompareAndSwap(most, backlog); {
		most = target.maxBacklog.Load()
	}
	q.number++
	v.taker.Store(0)
	v.number.Store(q.number) // R1
	target.rings[q.index].push(place)
}

// Next takes a chunk from the capture queue: of each receive queue the one that has waited
// longest, in turn. It returns false if none waits, or those that do must wait for others.
// A consumer takes a chunk when it begins to work on it, since only what waits is backlog.
func (q *Queue) Next() (Chunk, bool) {
	if n := q.group.closings.Load(); n != q.seen {
		q.seen = n
		q.adopt()
	}
	for range q.inputs {
		r := q.inputs[q.turn]
		if q.turn++; q.turn == len(q.inputs) {
			q.turn = 0
		}
		v := r.first()
		if v == nil || v.after != 0 && !r.source.epochs.empty(v.after) {
			continue
		}
		c := Chunk{v, v.number.Load()}
		v.taker.Store(int32(q.index + 1))
		r.target.taken.Add(uint64(len(v.frames)))
		r.pop(v)
		return c, true
	}
	return Chunk{}, false
}

// adopt takes the place of the consumers of queues that were closed.
func (q *Queue) adopt() {
	if q.closed.Load() {
		return
	}
	for _, other := range q.group.queues {
		for _, r := range other.rings {
			if r.consumer.CompareAndSwap(0, int32(q.index+1)) { // A3
				q.inputs = append(q.inputs, r)
			}
		}
	}
}

// Close ends the consumer of the queue, which must not be in Next or call it again; the group
// continues without it, and the receive queue is captured from as before. New chunks go to
// other queues. What waits is taken by the consumer whose Next is called first. Chunks that
// were taken by Next of this queue and not recycled are recycled, those that were passed on
// to other goroutines included.
func (q *Queue) Close() (err error) {
	if q.closed.Swap(true) {
		return fmt.Errorf("close queue %d of a buddy group: %w", q.index, ErrClosed)
	}
	q.group.open.Add(-1)
	for _, home := range q.group.queues {
		err = errors.Join(err, q.reclaim(home.views))
	}
	for _, r := range q.inputs {
		r.consumer.Store(0) // R3
	}
	q.inputs = nil
	q.group.closings.Add(1)
	return err
}

// reclaim recycles the views that the queue's consumer has.
func (q *Queue) reclaim(views []view) (err error) {
	for i := range views {
		v := &views[i]
		// The number is loaded first (A1): taker is cleared before the next one is stored,
		// so a taker that is read is that of this number, or of a later one, and the
		// exchange fails.
		n := v.number.Load()
		if n == 0 || v.taker.Load() != int32(q.index+1) || !v.number.CompareAndSwap(n, 0) {
			continue
		}
		q.reclaimed.Add(uint64(len(v.frames)))
		err = errors.Join(err, v.recycle())
	}
	return err
}

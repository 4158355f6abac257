package asynclog

import (
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a queue. A queue that was full takes messages again when half of it is free,
// so that one gap is told by one message.
const (
	maxMessages = 4096
	maxBytes    = 1 << 20
)

// Queue writes messages one after the other, on a goroutine that runs while there are
// any. Any goroutine may call its methods; none but Flush waits.
type Queue struct {
	note    func(dropped uint64, over time.Duration) error
	dropped atomic.Uint64

	mu      sync.Mutex // guards the following fields
	waiting []message
	bytes   int // of waiting
	full    bool
	skipped gap // since the last message that was added
	lost    gap // before the message that is written next
	failing bool
	idle    chan struct{} // closed when nothing is left to write; nil: nothing is being written
}

// message is one message that waits.
type message struct {
	size   int
	write  func() error
	before gap // messages dropped before this one
}

// gap is a number of messages that were dropped.
type gap struct {
	messages uint64
	since    time.Time // the first one
}

func (g *gap) add(more gap) {
	if g.messages == 0 {
		g.since = more.since
	}
	g.messages += more.messages
}

// NewQueue returns an empty queue. note writes that messages were dropped in the last
// time; after an error it is called again with the next message.
func NewQueue(note func(dropped uint64, over time.Duration) error) *Queue {
	return &Queue{note: note}
}

// Add adds a message of so many bytes, which write writes. A message for which there is
// no room is dropped.
func (q *Queue) Add(size int, write func() error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room := maxMessages
	if q.full {
		room = maxMessages / 2
	}
	q.full = len(q.waiting) >= room || len(q.waiting) > 0 && q.bytes+size > maxBytes/maxMessages*room
	if q.full {
		q.dropped.Add(1)
		q.skipped.add(gap{1, time.Now()})
		return
	}
	q.waiting = append(q.waiting, message{size, write, q.skipped})
	q.bytes += size
	q.skipped = gap{}
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.run()
	}
}

// run writes messages until none is left.
func (q *Queue) run() {
	for {
		m, lost, ok := q.next()
		if !ok {
			return
		}
		if lost.messages > 0 {
			q.told(lost, q.note(lost.messages, time.Since(lost.since)))
		}
		if m.write != nil {
			q.done(m.write())
		}
	}
}

// next removes the first message. Without one it returns the messages dropped since, to
// be told; after a failure they wait for the next message.
func (q *Queue) next() (m message, lost gap, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.waiting) > 0:
		m = q.waiting[0]
		q.waiting[0] = message{}
		q.waiting = q.waiting[1:]
		q.bytes -= m.size
		q.lost.add(m.before)
	case q.skipped.messages > 0 && !q.failing:
		q.lost.add(q.skipped)
		q.skipped = gap{}
	case q.lost.messages == 0 || q.failing:
		q.waiting = nil
		close(q.idle)
		q.idle = nil
		return m, lost, false
	}
	return m, q.lost, true
}

// told records whether lost messages could be told.
func (q *Queue) told(lost gap, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failing = err != nil
	if err == nil {
		q.lost = gap{}
	}
}

// done records a message that was written, or could not be.
func (q *Queue) done(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failing = err != nil
	if err != nil {
		q.dropped.Add(1)
		q.lost.add(gap{1, time.Now()})
	}
}

// Dropped is the number of messages that were not written, for lack of room or because
// writing failed.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Idle reports whether nothing waits or is being written.
func (q *Queue) Idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.idle == nil
}

// Flush waits until all messages are written, for at most timeout, and reports whether
// they are.
func (q *Queue) Flush(timeout time.Duration) bool {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return true
	}
	t := time.NewTimer(timeout)
	defer t.Stop()
	select {
	case <-idle:
		return true
	case <-t.C:
		return false
	}
}

package server

import (
	"errors"
	"sync"
	"time"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

const (
	// queueSoft is how many requests are read ahead of the worker, and
	// queueBytes how many bytes of them.
	queueSoft  = 64
	queueBytes = 4 << 20
	// queueHard bounds the bytes held while a reply of the client is awaited,
	// which may come behind any number of its requests.
	queueHard = 64 << 20

	// What a message and a descriptor count besides their bytes: requests that
	// are nearly empty cost time, when the client has gone still, and the
	// descriptors of a process are those of all its ports.
	messageCost    = 4 << 10
	descriptorCost = 16 << 10
)

// cost is what a message counts against the bounds.
func cost(m *proto.Message) int { return cap(m.Body) + messageCost + m.FDs()*descriptorCost }

var errFlood = errors.New("client sends requests without end and does not answer")

// queue hands requests from the reader to the worker and keeps their memory.
type queue struct {
	mu     sync.Mutex
	moved  sync.Cond // any change
	items  []*proto.Message
	free   []*proto.Message
	bytes  int
	asking int  // DMA requests that wait for the client's reply
	closed bool // no more puts; gets until empty, or the grace is over
	grace  time.Duration
	until  time.Time // the grace's end
}

func newQueue() *queue {
	q := &queue{grace: DefaultTimeout}
	q.moved.L = &q.mu
	return q
}

// blank gives a message to receive into.
func (q *queue) blank() *proto.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.free); n > 0 {
		m := q.free[n-1]
		q.free = q.free[:n-1]
		return m
	}
	return new(proto.Message)
}

// recycle takes a message back, its descriptors closed.
func (q *queue) recycle(m *proto.Message) {
	m.Release()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.free) < queueSoft && cap(m.Body) <= 4096 {
		q.free = append(q.free, m)
	}
}

// put adds a request. It waits while the worker is far behind, unless a device
// thread waits for a reply: the worker may be waiting for that thread, and the
// reply may lie behind this request.
func (q *queue) put(m *proto.Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for (len(q.items) >= queueSoft || q.bytes >= queueBytes) && q.asking == 0 && !q.closed {
		q.moved.Wait()
	}
	size := cost(m)
	if q.bytes+size > queueHard {
		m.Release()
		return errFlood
	}
	q.bytes += size
	q.items = append(q.items, m)
	q.moved.Broadcast()
	return nil
}

// get waits for the next request; nil once the queue is closed and empty, or has
// been closed for longer than its grace.
func (q *queue) get() *proto.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 {
		if q.closed {
			return nil
		}
		q.moved.Wait()
	}
	if q.closed && time.Now().After(q.until) {
		return nil
	}
	m := q.items[0]
	q.items = append(q.items[:0], q.items[1:]...)
	q.bytes -= cost(m)
	q.moved.Broadcast()
	return m
}

// asks counts the device's requests under way up or down.
func (q *queue) asks(delta int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asking += delta
	q.moved.Broadcast()
}

// close lets get run dry.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed, q.until = true, time.Now().Add(q.grace)
	}
	q.moved.Broadcast()
}

// drop releases what nobody will get any more.
func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.items {
		m.Release()
	}
	q.items, q.bytes = nil, 0
}

package server

import (
	"errors"
	"sync"
	"time"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

const (
	// queueSoft is the number of requests read ahead of the worker, and queueBytes
	// their bytes.
	queueSoft  = 64
	queueBytes = 4 << 20
	// queueHard limits the bytes while a reply of the client is awaited, which can
	// follow any number of its requests.
	queueHard = 64 << 20

	// Costs of a message and of a descriptor besides the bytes: small requests cost
	// time, and all ports of the process share its descriptors.
	messageCost    = 4 << 10
	descriptorCost = 16 << 10
)

// cost is the cost of a message against the limits.
func cost(m *proto.Message) int { return cap(m.Body) + messageCost + m.FDs()*descriptorCost }

var errFlood = errors.New("client exceeds the limit of requests while a DMA request waits for its reply")

// queue passes requests from the reader to the worker and recycles their memory.
type queue struct {
	mu       sync.Mutex
	moved    sync.Cond // signalled on any change
	items    []*proto.Message
	free     []*proto.Message
	bytes    int
	pending  int           // DMA requests that wait for the client's reply
	closed   bool          // get returns the rest, until the deadline
	timeout  time.Duration // of the rest after close
	deadline time.Time
}

func newQueue() *queue {
	q := &queue{timeout: DefaultTimeout}
	q.moved.L = &q.mu
	return q
}

// alloc returns a message to receive into.
func (q *queue) alloc() *proto.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.free); n > 0 {
		m := q.free[n-1]
		q.free = q.free[:n-1]
		return m
	}
	return new(proto.Message)
}

// recycle closes a message's descriptors and recycles its memory.
func (q *queue) recycle(m *proto.Message) {
	m.Release()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.free) < queueSoft && cap(m.Body) <= 4096 {
		q.free = append(q.free, m)
	}
}

// put adds a request. It blocks while the queue is full, unless a device thread
// waits for a reply: the worker may wait for that thread, and the reply may follow
// this request.
func (q *queue) put(m *proto.Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for (len(q.items) >= queueSoft || q.bytes >= queueBytes) && q.pending == 0 && !q.closed {
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

// get waits for the next request. It returns nil if the queue is closed and is empty
// or past its deadline.
func (q *queue) get() *proto.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.items) == 0 {
		if q.closed {
			return nil
		}
		q.moved.Wait()
	}
	if q.closed && time.Now().After(q.deadline) {
		return nil
	}
	m := q.items[0]
	q.items = append(q.items[:0], q.items[1:]...)
	q.bytes -= cost(m)
	q.moved.Broadcast()
	return m
}

// addPending adds delta to the number of DMA requests that wait for a reply.
func (q *queue) addPending(delta int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending += delta
	q.moved.Broadcast()
}

// close ends put's blocking. get returns the rest.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed, q.deadline = true, time.Now().Add(q.timeout)
	}
	q.moved.Broadcast()
}

// release releases the requests that are left.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.items {
		m.Release()
	}
	q.items, q.bytes = nil, 0
}

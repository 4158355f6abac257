package stream

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// A producer that sleeps while no frames arrive wakes the listeners of its process that
// wait for a block, and these wake it when they request something of it:
//
//	listener                          producer
//	store what it waits for           store the heads (publish)
//	set its bit in waiting            increment notices
//	load the heads: there? go on      load waiting: a bit? wake it if the heads are there
//
// SC6: the bit and notices are sequentially consistent, so at least one side sees the
// other. Only sleeping producers do this (Sleeps, Notify): a producer that polls without a
// pause has no part in a wait, nor have listeners of other processes, which see the shared
// memory only; both poll (waiter).
type notifier struct {
	waiting atomic.Uint64 // bit i: the listener in slot i waits
	_       [56]byte
	notices atomic.Uint64
	enabled atomic.Bool // the producer calls Notify
	waits   [MaxListeners]wait

	mu   sync.Mutex // guards wake
	wake func()     // ends the producer's sleep; nil: it does not sleep
}

// wait is what the listener in a slot waits for: any of these.
type wait struct {
	offset, seq atomic.Uint64 // the heads reach it
	segments    atomic.Uint64 // their number is another
	wake        chan struct{} // of one element
}

const maxWait = time.Second // a longer wait checks again

func (n *notifier) init() {
	for i := range n.waits {
		n.waits[i].wake = make(chan struct{}, 1)
	}
}

// wakeListener ends the wait of the listener in a slot, or its next one.
func (n *notifier) wakeListener(slot int) {
	n.waiting.And(^uint64(1 << slot))
	select {
	case n.waits[slot].wake <- struct{}{}:
	default:
	}
}

// wakeProducer makes a producer that sleeps call Publish.
func (n *notifier) wakeProducer() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wake != nil {
		n.wake()
	}
}

// Sleeps states that the producer may sleep while no frames arrive, until Finish: from
// now on it calls Notify. wake, which any goroutine may call, ends its sleep or the next one.
func (p *Producer) Sleeps(wake func()) {
	n := &p.stream.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wake = wake
	n.enabled.Store(true)
}

// Notify wakes listeners for which enough is published. A producer that may sleep calls
// it before it does, while it is held back, and often enough while frames arrive that
// buffer and index do not fill up.
func (p *Producer) Notify() {
	n := &p.stream.notifier
	n.notices.Add(1) // SC6, pairs with await
	for set := n.waiting.Load(); set != 0; set &= set - 1 {
		slot := bits.TrailingZeros64(set)
		w := &n.waits[slot]
		if p.published >= w.offset.Load() || p.publishedSeq >= w.seq.Load() || p.cur.Segments.Load() != w.segments.Load() {
			n.wakeListener(slot)
		}
	}
}

// endNotices wakes all listeners: the stream is finished.
func (n *notifier) endNotices() {
	n.mu.Lock()
	n.wake = nil
	n.mu.Unlock()
	n.enabled.Store(false)
	for set := n.waiting.Load(); set != 0; set &= set - 1 {
		n.wakeListener(bits.TrailingZeros64(set))
	}
}

// awaitBlock waits until the producer has published up to a stream offset or more, closed
// a segment, or filled half of the index; at most until ctx is done. segments is their
// number as the caller knows it. It returns false at once if the producer does not notify.
func (l *Listener) awaitBlock(ctx context.Context, offset, segments uint64) bool {
	local, ok := l.link.(*local)
	if !ok || !local.stream.notifier.enabled.Load() {
		return false
	}
	n := &local.stream.notifier
	w := &n.waits[l.slot]
	seq := l.blocks.seq + uint64(len(l.index)/2)
	w.offset.Store(offset)
	w.seq.Store(seq)
	w.segments.Store(segments)
	bit := uint64(1 << l.slot)
	n.waiting.Or(bit) // SC6, pairs with Notify
	defer n.waiting.And(^bit)
	if l.cur.Head.Load() >= offset || l.cur.IndexHead.Load() >= seq || l.cur.Segments.Load() != segments || !n.enabled.Load() {
		return true
	}
	limit := maxWait
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end))
	}
	if limit <= 0 {
		return true
	}
	if l.timer == nil {
		l.timer = time.NewTimer(limit)
	} else {
		l.timer.Reset(limit)
	}
	defer l.timer.Stop()
	select {
	case <-w.wake:
	case <-ctx.Done():
	case <-l.timer.C:
	}
	return true
}

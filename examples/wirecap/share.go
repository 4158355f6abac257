package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/buddy"
	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
)

// system is how four queues are read by four consumers.
type system struct {
	variant
	mode      buddy.Mode
	threshold float64
	forward   bool // through a second port
}

func (s system) config() driver.Config {
	c := s.variant.config()
	c.Queues = queues
	return c
}

// shared is what became of a traffic.
type shared struct {
	loss  float64 // part of the frames
	moved float64 // part of those captured
	sent  uint64  // by the second port
}

// share sends traffic of a load for so long to a system whose consumers take a time for each
// frame.
func share(s system, t traffic, load float64, cost, length time.Duration) (r shared, err error) {
	w, err := newTrafficWire(t, load, cost)
	if err != nil {
		return r, err
	}
	in, err := open(s.config(), w)
	if err != nil {
		return r, err
	}
	x := &sharing{in: in, cost: int64(cost) * tick}
	defer func() { err = errors.Join(err, x.close()) }()
	if err := x.connect(s); err != nil {
		return r, err
	}
	now := int64(0)
	for now < int64(length)*tick {
		w.advance(now)
		now += stride
		x.step(now)
	}
	w.pending, w.ended = nil, true
	for limit := now + 60*second; x.busy(now); x.step(now) {
		if now += stride; now > limit {
			return r, errors.New("the consumers do not end")
		}
	}
	return x.result(s)
}

// sharing is a running system.
type sharing struct {
	in, out *machine // out: nil without forwarding
	cost    int64
	rings   []*ringConsumer // without pools
	group   *buddy.Group
	last    [queues]int64 // when chunks were captured
	workers []*worker
}

// connect makes the consumers.
func (x *sharing) connect(s system) (err error) {
	if s.chunks == 0 {
		for i := range queues {
			x.rings = append(x.rings, &ringConsumer{q: x.in.port.RxQueue(i), cost: x.cost})
		}
		return nil
	}
	var pools []*driver.RxPool
	for i := range queues {
		pools = append(pools, x.in.port.RxPool(i))
		x.workers = append(x.workers, &worker{x: x})
	}
	if x.group, err = buddy.New(buddy.Config{Mode: s.mode, Threshold: s.threshold}, pools...); err != nil || !s.forward {
		return err
	}
	c := driver.Config{RingSize: ringAlone, TxQueues: queues, TxRingSize: ringAlone, TxBuffers: ringAlone - 8, TxAttach: true}
	c.BufferSize, c.MaxFrame, c.Pages, c.Interrupts = smallBuf, longest, s.config().Pages, driver.NoInterrupts
	if x.out, err = open(c, &burstWire{open: true}); err != nil {
		return err
	}
	for i, pool := range pools {
		base, err := x.out.port.Map(pool.Memory())
		if err != nil {
			return err
		}
		for k, w := range x.workers {
			w.bases = append(w.bases, base+driver.Headroom)
			if i == 0 {
				w.tx = x.out.port.TxQueue(k)
			}
		}
	}
	return nil
}

// step is what happens until a time.
func (x *sharing) step(now int64) {
	x.in.step(now)
	if x.out != nil {
		x.out.step(now)
	}
	for _, c := range x.rings {
		c.run(now)
	}
	if x.group == nil {
		return
	}
	for w := x.first(now); w != nil; w = x.first(now) {
		w.finish()
		x.take(w.done)
	}
	for i := range queues {
		for x.group.Queue(i).Capture(now-x.last[i] > timeout) > 0 {
			x.last[i] = now
		}
	}
	x.take(now)
}

// first returns the worker that is done first, if that is until now.
func (x *sharing) first(now int64) (first *worker) {
	for _, w := range x.workers {
		if w.working && w.done <= now && (first == nil || w.done < first.done) {
			first = w
		}
	}
	return first
}

// take lets the workers that have no chunk take one.
func (x *sharing) take(now int64) {
	for i, w := range x.workers {
		w.recycle()
		if w.working {
			continue
		}
		if w.chunk, w.working = x.group.Queue(i).Next(); w.working {
			w.done = now + int64(len(w.chunk.Frames()))*x.cost
		}
	}
}

// busy reports whether frames are in the system that are to be worked on or sent.
func (x *sharing) busy(now int64) bool {
	for _, c := range x.rings {
		if c.free > now {
			return true
		}
	}
	if x.group == nil {
		return false
	}
	frames := uint64(0)
	for _, s := range x.group.Stats() {
		if frames += s.Frames; s.Frames != s.Recycled {
			return true
		}
	}
	n := x.in.nic.Stats().Delivered
	return frames != n || x.out != nil && x.out.nic.Stats().Sent != n
}

func (x *sharing) result(s system) (r shared, err error) {
	n := x.in.nic.Stats()
	r.loss = float64(n.Missed+n.NoDescriptor) / float64(n.Offered)
	if err := n.Balanced(); err != nil || x.group == nil {
		return r, err
	}
	all := x.group.Stats()
	moved := uint64(0)
	for _, q := range all {
		moved += q.MovedFrames
	}
	r.moved = float64(moved) / float64(n.Delivered)
	if s.forward {
		if r.sent = x.out.nic.Stats().Sent; r.sent != n.Delivered {
			return r, fmt.Errorf("%d frames captured, %d forwarded", n.Delivered, r.sent)
		}
	}
	return r, buddy.Balanced(all)
}

func (x *sharing) close() (err error) {
	if x.out != nil {
		err = x.out.close()
	}
	if x.group != nil {
		err = errors.Join(err, x.group.Close())
	}
	return errors.Join(err, x.in.close())
}

// worker is a consumer of a group.
type worker struct {
	x       *sharing
	chunk   buddy.Chunk
	working bool
	done    int64 // when it has worked on the chunk

	// To forward.
	tx     *driver.TxQueue
	bases  []dma.IOVA // of the pools' first buffers, for the second port
	posted uint64
	held   []heldChunk
}

// heldChunk is a chunk that the second port may still read.
type heldChunk struct {
	buddy.Chunk
	until uint64 // posted
}

// finish ends the work on a chunk: it is recycled, or forwarded.
func (w *worker) finish() {
	w.working = false
	if w.tx == nil {
		w.release(w.chunk)
		return
	}
	frames := w.chunk.Frames()
	from := w.chunk.Queue()
	pitch := dma.IOVA(w.x.group.Queue(from).Pool().Stride())
	for i := range frames {
		b := w.tx.Buffer(i)
		b.Attach(frames[i].Data, w.bases[from]+dma.IOVA(frames[i].Buffer)*pitch)
		b.Offload, b.More = nil, false
	}
	if w.tx.Post(len(frames)) != len(frames) {
		panic("the second line is slower than a consumer")
	}
	w.posted += uint64(len(frames))
	w.held = append(w.held, heldChunk{w.chunk, w.posted})
}

// recycle recycles the chunks that were sent.
func (w *worker) recycle() {
	if len(w.held) == 0 {
		return
	}
	sent := w.posted - uint64(w.tx.Buffers()-w.tx.Free())
	for len(w.held) > 0 && w.held[0].until <= sent {
		w.release(w.held[0].Chunk)
		w.held = w.held[1:]
	}
}

func (w *worker) release(c buddy.Chunk) {
	if err := w.x.group.Recycle(c); err != nil {
		panic(err) // each is taken once
	}
}

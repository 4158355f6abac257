package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim/wire"
)

// Time is virtual, in ticks of 0.1 ns, of which a bit takes one at 10 Gb/s. The model makes a
// pass every pass frames; what threads would do takes no time, except that the consumer is
// busy for its cost of each frame.
const (
	tick      = 10 // of a nanosecond
	frameTime = (8 + 60 + 4 + 12) * 8
	pass      = 8

	batch     = 64               // frames captured at once
	timeout   = 1_000_000 * tick // after which a chunk is handed on that is not full
	linkLimit = 30 * time.Second // of real time
	frameSize = 60               // bytes without CRC
	segments  = 2048             // descriptors of the ring of a pool
	ringAlone = 4096             // of a queue without one
	smallBuf  = 1024             // bytes of a packet buffer
	longest   = smallBuf - 4 - 8 // so that a frame takes one
)

// variant is how the receive queue has its buffers.
type variant struct {
	chunks, size int // R and M; 0: no pool, the ring alone
}

func (v variant) String() string {
	if v.chunks == 0 {
		return fmt.Sprintf("ring of %d", ringAlone)
	}
	return fmt.Sprintf("R %d, M %d", v.chunks, v.size)
}

// buffers is R x M.
func (v variant) buffers() int {
	if v.chunks == 0 {
		return ringAlone
	}
	return v.chunks * v.size
}

func (v variant) config() driver.Config {
	c := driver.Config{RingSize: ringAlone, BufferSize: smallBuf, MaxFrame: longest, RefillBatch: 1, Pages: hugepage.Ordinary, Interrupts: driver.NoInterrupts}
	if v.chunks > 0 {
		c.RingSize, c.Chunks, c.ChunkSize = max(segments, 2*v.size), v.chunks, v.size
	}
	return c
}

// result is what became of bursts of one variant.
type result struct {
	variant
	survived uint64    // frames of the longest burst of which none is lost, to pass frames
	loss     []float64 // part of the frames lost, by length of the burst
}

// burst sends bursts of so many frames, multiples of pass in ascending order, at the speed of
// the line, to a consumer to which each frame costs a time. Since all begin alike, it is one
// burst: what is lost of the first P frames is what a burst of P frames loses.
func burst(v variant, cost time.Duration, lengths []uint64) (_ result, err error) {
	w := &burstWire{frame: make([]byte, frameSize), total: lengths[len(lengths)-1]}
	m, err := open(v.config(), w)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	c := m.consumer(int64(cost) * tick)
	r := result{variant: v}
	for len(r.loss) < len(lengths) {
		w.now += pass * frameTime
		m.step(w.now)
		c.run(w.now)
		s := m.nic.Stats()
		lost := s.Missed + s.NoDescriptor
		if lost == 0 {
			r.survived = w.sent
		}
		if w.sent == lengths[len(r.loss)] {
			r.loss = append(r.loss, float64(lost)/float64(w.sent))
			if err := s.Balanced(); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// burstWire delivers frames back to back, by the time that the experiment sets.
type burstWire struct {
	frame []byte
	now   int64 // ticks
	sent  uint64
	total uint64
	open  bool // it does not end
}

// Receive implements wire.Wire.
func (w *burstWire) Receive(frames []wire.Frame, _ int) (n int, err error) {
	if w.sent == w.total && !w.open {
		return 0, io.EOF
	}
	for n < len(frames) && w.sent < w.total && int64(w.sent+1)*frameTime <= w.now {
		frames[n] = wire.Frame{Data: w.frame}
		w.sent++
		n++
	}
	return n, nil
}

// Send implements wire.Wire.
func (w *burstWire) Send([]byte) error { return nil }

// Up implements wire.Wire.
func (w *burstWire) Up() bool { return true }

// Close implements wire.Wire.
func (w *burstWire) Close() error { return nil }

// consumer reads what a port receives, until a time in ticks.
type consumer interface{ run(now int64) }

func (m *machine) consumer(cost int64) consumer {
	if pool := m.port.RxPool(0); pool != nil {
		return &poolConsumer{pool: pool, cost: cost}
	}
	return &ringConsumer{q: m.port.RxQueue(0), cost: cost}
}

// poolConsumer is WireCAP in basic mode: a capture thread that puts chunks into the capture
// queue at once, and an application thread that recycles each when it is done with it.
type poolConsumer struct {
	pool   *driver.RxPool
	cost   int64
	frames [batch]ring.Frame
	queue  []captured
	last   int64 // when chunks were handed on
	free   int64 // when the application is done with the chunk before
}

// captured is a part of a chunk in the capture queue.
type captured struct {
	driver.Chunk
	frames int64
	at     int64
}

func (c *poolConsumer) run(now int64) {
	for {
		chunk, n := c.pool.Capture(c.frames[:], now-c.last > timeout)
		if n == 0 {
			break
		}
		c.queue = append(c.queue, captured{chunk, int64(n), now})
		c.last = now
	}
	for len(c.queue) > 0 {
		one := c.queue[0]
		done := max(c.free, one.at) + one.frames*c.cost
		if done > now {
			return
		}
		if err := c.pool.Recycle(one.Chunk); err != nil {
			panic(err) // each was captured once
		}
		c.free, c.queue = done, c.queue[1:]
	}
}

// ringConsumer is an application that reads the ring in place: the buffers of a batch are free
// when it is done with it.
type ringConsumer struct {
	q      *driver.RxQueue
	cost   int64
	frames [batch]ring.Frame
	free   int64
}

func (c *ringConsumer) run(now int64) {
	for c.free <= now {
		c.q.Release()
		n := c.q.Poll(c.frames[:])
		if n == 0 {
			return
		}
		c.free = now + int64(n)*c.cost
	}
}

package capture

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// AnyCore leaves a poller's thread where the kernel puts it.
const AnyCore = -1

// pollerConfig are a poller's settings.
type pollerConfig struct {
	Core   int  // core that the thread is pinned to, or AnyCore
	Batch  int  // frames per poll at most, default 64
	Caplen int  // bytes kept of a frame, 0 for all
	Idle   Idle // all but IdleAuto

	Sleeper Sleeper // the source, with IdleSleep
}

// Idle says what a poller does while nothing arrives.
type Idle uint8

const (
	// IdleAuto is IdleSleep where the port's queues can wake a poller, else
	// IdleBusy where each poller can have a core and a processor of the Go
	// scheduler to itself with one of both left over, else IdleYield.
	IdleAuto Idle = iota
	// IdleBusy polls without a break.
	IdleBusy
	// IdleYield lets other goroutines and threads run after some empty polls,
	// and sleeps for moments after many.
	IdleYield
	// IdleSleep sleeps until the queue interrupts, and polls as long as frames
	// come. The port must have been opened for it.
	IdleSleep
)

// idleFor is what IdleAuto stands for without interrupts. A locked thread that yields hands its Go
// processor to another thread and waits to get one back, which costs more than a
// batch of frames: so a poller had better never yield. But a poller that never
// yields takes its processor away from all others: with no more of them than
// pollers and one that does not block (a reader, the model's device thread)
// nothing else would run.
func idleFor(pollers, cores, processors int) Idle {
	if pollers < cores && pollers+2 < processors {
		return IdleBusy
	}
	return IdleYield
}

const (
	defaultBatch = 64
	yieldAfter   = 16   // empty polls
	napAfter     = 4096 // empty polls
	idleNap      = 20 * time.Microsecond
	heldNap      = 20 * time.Microsecond
	ahead        = 8  // frames asked for before the first is stored; AppendBatch asks for the others
	flushEvery   = 16 // batches
)

// PollerCounters are what a poller has done. They only grow.
//
//	Frames = stored in the stream + refused by it (stream.Stats) + Abandoned
type PollerCounters struct {
	Polls     uint64 `json:"polls"`
	Empty     uint64 `json:"empty"`     // polls that gave nothing
	Frames    uint64 `json:"frames"`    // polled from the source
	Bytes     uint64 `json:"bytes"`     // of those, on the wire without CRC
	Held      uint64 `json:"held"`      // times that a lossless listener held the poller back
	Abandoned uint64 `json:"abandoned"` // frames given up because it was stopped while held

	Sleeps uint64        `json:"sleeps"` // times it slept until an interrupt
	Slept  time.Duration `json:"slept"`

	Gaps    []Gap         `json:"gaps"`    // times between polls
	Longest time.Duration `json:"longest"` // the longest of them
}

// poller drains one source into one stream, on a thread of its own.
type poller struct {
	source   Source
	producer *stream.Producer
	stamper  *clock.Stamper
	sleeper  Sleeper // nil unless the poller sleeps
	config   pollerConfig
	frames   []ring.Frame

	// What the loop counts, and since how many batches it has not shown it.
	polls, empty, polled, bytes uint64
	sleeps, slept               uint64 // slept: ns
	dirty                       int
	lastPoll                    uint64 // ticks
	gaps                        gaps

	_      [64]byte // what others read, on lines of its own
	shared struct{ polls, empty, frames, bytes, held, abandoned, sleeps, slept atomic.Uint64 }

	stopping atomic.Int32
	done     chan struct{}
}

// what stopping can be
const (
	running  int32 = iota
	draining       // end when a poll gives nothing
	stopped        // end after this batch
)

// newPoller makes a poller; run starts it.
func newPoller(src Source, p *stream.Producer, st *clock.Stamper, cfg pollerConfig) *poller {
	if cfg.Batch <= 0 {
		cfg.Batch = defaultBatch
	}
	return &poller{
		source: src, producer: p, stamper: st, config: cfg, sleeper: cfg.Sleeper,
		frames: make([]ring.Frame, cfg.Batch), done: make(chan struct{}),
	}
}

// run polls until stop or drain is called, then ends the stream. It keeps the
// calling goroutine's thread to itself meanwhile. It returns an error only when
// it could not start; the stream is ended then, too.
func (p *poller) run() error {
	defer close(p.done)
	defer p.producer.Finish()
	runtime.LockOSThread()
	// Unlocked only if the thread's affinity is as it was: otherwise the thread
	// ends with the goroutine.
	if p.config.Core == AnyCore {
		defer runtime.UnlockOSThread()
	} else if err := pin(p.config.Core); err != nil {
		return err
	}
	defer p.flush()
	p.lastPoll = clock.Ticks()
	for idle := 0; ; {
		// Asked before the poll: a poll that was empty before the end was
		// announced says nothing about frames that came in between.
		draining := p.stopping.Load() == draining
		n := p.once()
		if n < 0 || draining && n == 0 || p.stopping.Load() == stopped {
			return nil
		}
		if n > 0 {
			idle = 0
			continue
		}
		idle++
		p.idle(idle)
	}
}

// stop makes run return after the frames in hand, even if the stream is held.
func (p *poller) stop() {
	p.stopping.Store(stopped)
	p.rouse()
}

// drain makes run return once a poll gives nothing. After stop it does nothing.
func (p *poller) drain() {
	p.stopping.CompareAndSwap(running, draining)
	p.rouse()
}

// once polls and stores one batch and returns its length; -1 when the poller was
// stopped while the stream was held.
func (p *poller) once() int {
	now := clock.Ticks()
	p.gaps.count(p.stamper.Nanoseconds(now - p.lastPoll))
	p.lastPoll = now
	p.polls++
	n := p.source.Poll(p.frames)
	if n > 0 && !p.store(p.frames[:n]) {
		return -1
	}
	return n
}

// store stamps frames, puts them into the stream and gives them back to the
// source. A frame that the stream does not take yet is kept, and its stamp with
// it, until the stream does. False: stopped meanwhile.
func (p *poller) store(frames []ring.Frame) bool {
	prefetchFrames(frames[:min(ahead, len(frames))])
	p.stamper.Update()
	before, others := p.producer.Offered(), uint64(0)
	for left := frames; len(left) > 0; {
		left = left[p.producer.AppendBatch(p.stamper, left, p.config.Caplen):]
		if len(left) == 0 {
			break
		}
		if !p.held(&left[0]) {
			p.shared.abandoned.Add(uint64(len(left)))
			for i := range left {
				others += uint64(left[i].Len)
			}
			p.source.Release()
			p.count(len(frames), p.producer.Offered()-before+others)
			return false
		}
		others += uint64(left[0].Len)
		left = left[1:]
	}
	p.producer.Publish()
	p.source.Release()
	p.count(len(frames), p.producer.Offered()-before+others)
	return true
}

// held stamps a frame and tries until the stream takes it. False: stopped meanwhile.
func (p *poller) held(f *ring.Frame) bool {
	at := p.stamper.Stamp()
	p.shared.held.Add(1)
	for tries := 1; ; tries++ {
		if p.producer.Append(at.Sec(), at.Nsec(), f, p.config.Caplen) {
			return true
		}
		if p.stopping.Load() == stopped {
			return false
		}
		if tries < yieldAfter {
			runtime.Gosched()
		} else {
			time.Sleep(heldNap)
		}
	}
}

// idle passes the time after so many empty polls in a row.
func (p *poller) idle(polls int) {
	p.empty++
	p.producer.Publish() // a listener may wait for an aligned start
	if p.dirty > 0 || polls%yieldAfter == 0 {
		p.flush()
	}
	if p.sleeper != nil {
		p.sleep()
		return
	}
	if p.config.Idle == IdleBusy || polls < yieldAfter {
		return
	}
	if polls < napAfter {
		runtime.Gosched()
	} else {
		time.Sleep(idleNap)
	}
}

// count adds a batch. Other goroutines see it after at most flushEvery more, or
// as soon as nothing arrives.
func (p *poller) count(frames int, bytes uint64) {
	p.polled += uint64(frames)
	p.bytes += bytes
	if p.dirty++; p.dirty == flushEvery {
		p.flush()
	}
}

func (p *poller) flush() {
	p.dirty = 0
	p.shared.polls.Store(p.polls)
	p.shared.empty.Store(p.empty)
	p.shared.frames.Store(p.polled)
	p.shared.bytes.Store(p.bytes)
	p.shared.sleeps.Store(p.sleeps)
	p.shared.slept.Store(p.slept)
	p.gaps.flush()
}

// counters may be called from any goroutine.
func (p *poller) counters() PollerCounters {
	s := &p.shared
	c := PollerCounters{
		Polls: s.polls.Load(), Empty: s.empty.Load(),
		Frames: s.frames.Load(), Bytes: s.bytes.Load(),
		Held: s.held.Load(), Abandoned: s.abandoned.Load(),
		Sleeps: s.sleeps.Load(), Slept: time.Duration(s.slept.Load()),
	}
	c.Gaps, c.Longest = p.gaps.read()
	return c
}

// pin keeps the calling thread on one core.
func pin(core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin poller to core %d: %w", core, err)
	}
	return nil
}

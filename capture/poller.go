package capture

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// pollerConfig are a poller's settings.
type pollerConfig struct {
	Core   int  // core that the thread is pinned to, or AnyCore
	FIFO   int  // its SCHED_FIFO priority, 0 for the ordinary policy
	Batch  int  // frames per poll at most, default 64
	Caplen int  // bytes kept of a frame, 0 for all
	Idle   Idle // all but IdleAuto

	Sleeper Sleeper // the source, with IdleSleep

	Dedup *dedup.Table // nil: duplicates are kept
	Rules *ruleSet     // nil: as of no rules

	Limits Limits // of the port

	Beat *atomic.Uint64 // with FIFO: stands still when nobody else runs; nil: not watched
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
	maxBatch     = 4096 // the largest ring
	yieldAfter   = 16   // empty polls
	napAfter     = 4096 // empty polls
	idleNap      = 20 * time.Microsecond
	heldNap      = 20 * time.Microsecond
	flushEvery   = 16 // batches
)

// PollerCounters are what a poller has done. They only grow.
//
//	Frames = stored in the stream + refused by it (stream.Stats) + Filtered + Duplicates + Abandoned
type PollerCounters struct {
	Polls     uint64 `json:"polls"`
	Empty     uint64 `json:"empty"`     // polls that gave nothing
	Frames    uint64 `json:"frames"`    // polled from the source
	Bytes     uint64 `json:"bytes"`     // of those, on the wire without CRC
	Held      uint64 `json:"held"`      // times that a lossless listener held the poller back
	Abandoned uint64 `json:"abandoned"` // frames given up because it was stopped while held

	Filtered   uint64 `json:"filtered"`   // frames that rules dropped
	Duplicates uint64 `json:"duplicates"` // frames left out as copies

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

	// plain: a stamp each and a copy is all that frames need, and AppendBatch does
	// both; otherwise they take the path.
	plain   bool
	path    pipeline
	adopted *ruleSet // the last one taken from wanted
	emptied uint64   // start of the last poll that returned less than it could, ticks; 0: not known

	wanted  atomic.Pointer[ruleSet] // by whoever sets rules
	inForce atomic.Pointer[ruleSet] // adopted, for others

	// What the loop counts, and since how many batches it has not shown it.
	polls, empty, polled, bytes uint64
	sleeps, slept               uint64 // slept: ns
	dirty                       int
	lastPoll                    uint64 // ticks
	gaps                        gaps
	stalls                      stalls // gaps that were long enough to ask why
	dog                         watchdog

	_      [64]byte // what others read, on lines of its own
	shared struct{ polls, empty, frames, bytes, held, abandoned, sleeps, slept, filtered, duplicates atomic.Uint64 }

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
	poller := &poller{
		source: src, producer: p, stamper: st, config: cfg, sleeper: cfg.Sleeper,
		frames: make([]ring.Frame, cfg.Batch), done: make(chan struct{}),
	}
	if r, ok := src.(Ring); ok {
		poller.stalls.descriptors = uint64(r.Size())
	}
	poller.stalls.limits = cfg.Limits
	poller.dog.beat, poller.dog.after = cfg.Beat, starvedAfter
	poller.path.init(cfg.Batch, cfg.Caplen, cfg.Dedup)
	poller.choose()
	if cfg.Rules == nil {
		cfg.Rules = newRuleSet(nil)
	}
	poller.wanted.Store(cfg.Rules)
	return poller
}

// choose chooses the way that frames take.
func (p *poller) choose() {
	p.plain = p.stamper.Policy() == clock.PerPacket && p.path.table == nil && p.path.rules == nil
}

// run polls until stop or drain is called, then ends the stream. It keeps the
// calling goroutine's thread to itself meanwhile. It returns an error only when
// it could not start; the stream is ended then, too.
func (p *poller) run() error {
	defer close(p.done)
	defer p.producer.Finish()
	runtime.LockOSThread()
	// Unlocked only if the thread's affinity and policy are as they were:
	// otherwise the thread ends with the goroutine.
	if p.config.Core == AnyCore && p.config.FIFO == 0 {
		defer runtime.UnlockOSThread()
	}
	if err := p.schedule(); err != nil {
		return err
	}
	defer p.unschedule()
	defer p.flush()
	p.lastPoll = p.stamper.Ticks()
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
	now := p.stamper.Ticks()
	gap := p.stamper.Nanoseconds(now - p.lastPoll)
	p.gaps.count(gap)
	if gap >= stallAfter {
		p.stalled(gap, now)
	}
	p.lastPoll = now
	p.polls++
	// Acquire: pairs with the store of whoever made the set.
	if s := p.wanted.Load(); s != p.adopted {
		p.adopt(s)
	}
	n := p.source.Poll(p.frames)
	if n > 0 && !p.store(p.frames[:n]) {
		return -1
	}
	if n < len(p.frames) {
		p.emptied = now
	}
	if p.stalls.open {
		p.found(n)
	}
	return n
}

// store stamps frames, puts them into the stream and gives them back to the
// source. A frame that the stream does not take yet is kept, and its stamp with
// it, until the stream does. False: stopped meanwhile.
func (p *poller) store(frames []ring.Frame) bool {
	if !p.plain {
		return p.storeBatch(frames)
	}
	p.stamper.Update()
	before, others := p.producer.WireBytes(), uint64(0)
	for left := frames; len(left) > 0; {
		left = left[p.producer.AppendBatch(p.stamper, left, p.config.Caplen):]
		if len(left) == 0 {
			break
		}
		f, at := &left[0], p.stamper.Stamp()
		if !p.held(func() bool { return p.producer.Append(at.Sec(), at.Nsec(), f, p.config.Caplen) }) {
			p.shared.abandoned.Add(uint64(len(left)))
			for i := range left {
				others += uint64(left[i].Len)
			}
			p.source.Release()
			p.count(len(frames), p.producer.WireBytes()-before+others)
			return false
		}
		others += uint64(left[0].Len)
		left = left[1:]
	}
	p.producer.Publish()
	p.source.Release()
	p.count(len(frames), p.producer.WireBytes()-before+others)
	return true
}

// held tries to store a frame until the stream takes it. False: stopped meanwhile.
func (p *poller) held(store func() bool) bool {
	p.shared.held.Add(1)
	began := p.stamper.Ticks()
	defer func() { p.stalls.spent(p.lastPoll, p.stamper.Ticks()-began, 0) }()
	for tries := 1; ; tries++ {
		if store() {
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
	began := p.stamper.Ticks()
	if polls < napAfter {
		runtime.Gosched()
	} else {
		time.Sleep(idleNap)
	}
	p.stalls.spent(p.lastPoll, 0, p.stamper.Ticks()-began)
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
	p.shared.filtered.Store(p.path.filtered)
	p.shared.duplicates.Store(p.path.duplicates)
	if p.path.rules != nil {
		p.path.rules.flush()
	}
	p.gaps.flush()
	p.look()
}

// counters may be called from any goroutine.
func (p *poller) counters() PollerCounters {
	s := &p.shared
	c := PollerCounters{
		Polls: s.polls.Load(), Empty: s.empty.Load(),
		Frames: s.frames.Load(), Bytes: s.bytes.Load(),
		Held: s.held.Load(), Abandoned: s.abandoned.Load(),
		Filtered: s.filtered.Load(), Duplicates: s.duplicates.Load(),
		Sleeps: s.sleeps.Load(), Slept: time.Duration(s.slept.Load()),
	}
	c.Gaps, c.Longest = p.gaps.read()
	return c
}

package capture

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// pollerConfig holds a poller's settings.
type pollerConfig struct {
	Core    int  // that the thread is pinned to, or AnyCore
	FIFO    int  // SCHED_FIFO priority, 0 for the ordinary policy
	Batch   int  // frames per poll at most, default 64
	SnapLen int  // bytes kept of a frame, 0 for all
	Idle    Idle // any but IdleAuto

	Sleeper Sleeper // the source, for IdleSleep

	Dedup *dedup.Table // nil: duplicates are kept
	Rules *ruleSet     // nil: no rules

	Count *frameCount // nil: no limit

	Spread *spreadWatch // nil: no frames are sampled

	Timed *timedLog // nil: the device stamps no frames

	Limits Limits // of the port
	Room   int    // frames that ring and packet buffer hold at most

	Heartbeat    *sched.Heartbeat // for FIFO; nil: the policy is kept whatever happens
	StarvedAfter time.Duration    // see sched.Config
}

// Idle selects what a poller does while no frames arrive.
type Idle uint8

const (
	// IdleAuto is IdleSleep if the port's queues can wake a poller; else IdleBusy
	// if each poller can have a core and a processor of the Go scheduler of its
	// own, and one of each remains; else IdleYield.
	IdleAuto Idle = iota
	// IdleBusy polls without a pause.
	IdleBusy
	// IdleYield yields to other goroutines and threads after some empty polls, and
	// sleeps for microseconds after many.
	IdleYield
	// IdleSleep sleeps until the queue's interrupt, and polls while frames arrive.
	// The port must have been opened with queue interrupts.
	IdleSleep
)

// idleFor resolves IdleAuto for queues without interrupts. A locked thread that
// yields passes its Go processor to another thread and waits for one, which costs
// more than a batch of frames: IdleBusy is better where it is possible. But a
// poller that never yields occupies its processor. If all are occupied by pollers
// and one other thread that does not block (a reader, the model's device thread),
// no other goroutine runs.
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
	nap          = 20 * time.Microsecond
	publishEvery = 16 // batches
)

// PollerCounters count what a poller has done. They only grow.
//
//	Frames = stored in the stream + refused by it (stream.Stats) + Filtered + Duplicates + Abandoned
type PollerCounters struct {
	Polls        uint64 // of the source
	Empty        uint64 // polls that returned no frame
	Frames       uint64 // polled from the source
	Bytes        uint64 // of these frames, on the wire without CRC
	Backpressure uint64 // times that a lossless listener blocked the poller
	Abandoned    uint64 // frames discarded because the poller was stopped while blocked

	Filtered   uint64 // frames that rules dropped
	Duplicates uint64 // frames removed as duplicates

	Sleeps uint64        // times it slept until an interrupt
	Slept  time.Duration // in these

	Load sched.Load // what its time went to

	Gaps    []sched.Bucket // times between polls
	Longest time.Duration  // the longest of them
}

// poller moves frames from one source to one stream, on a thread of its own.
type poller struct {
	source   Source
	producer *stream.Producer
	stamper  *clock.Stamper
	sleeper  Sleeper // nil unless the poller sleeps
	stamped  Stamped // the source, if its frames have stamps
	pooled   Pooled  // the source, if its frames stay in a pool
	held     held
	monitor  *sched.Monitor
	config   pollerConfig
	frames   []ring.Frame

	// fast: frames need a stamp each and a copy, which AppendBatch does. cut: some are
	// dropped or cut before, and AppendCut does the rest. Otherwise they take the slow
	// path.
	fast     bool
	cut      bool
	path     pipeline
	applied  *ruleSet // the last one taken from requested
	arrivals uncertainty
	emptied  uint64 // start of the last poll that returned less than a full batch, ticks; 0: not known

	requested atomic.Pointer[ruleSet] // stored by Engine.SetRules
	published atomic.Pointer[ruleSet] // = applied, for other goroutines

	// Counters of the loop, and the number of batches since they were published.
	polls, empty, polled, bytes uint64
	sleeps, slept               uint64 // slept: ns
	busy                        uint64 // ns, see sched.Load
	blocked                     uint64 // ns of backpressure, before the last poll
	streak                      int    // frames of the full batches in succession
	shortest                    uint64 // ns from one of these polls to the next, at least
	dirty                       int
	lastPoll                    uint64 // ticks

	_      [64]byte // published values have cache lines of their own
	shared struct{ polls, empty, frames, bytes, backpressure, abandoned, sleeps, slept, busy, blocked, filtered, duplicates atomic.Uint64 }

	stopping atomic.Int32
	dry      atomic.Bool // it waits for a listener to release buffers of the pool
	done     chan struct{}
}

// values of poller.stopping
const (
	running  int32 = iota
	draining       // end when a poll returns no frame
	stopped        // end after this batch
)

// newPoller returns a poller that run starts.
func newPoller(src Source, p *stream.Producer, st *clock.Stamper, cfg pollerConfig) *poller {
	if cfg.Batch <= 0 {
		cfg.Batch = defaultBatch
	}
	limits := sched.Limits{
		LineRate: cfg.Limits.LineRate, PacketBuffer: uint64(cfg.Limits.PacketBuffer), BufferStep: uint64(cfg.Limits.BufferStep),
	}
	if r, ok := src.(Ring); ok {
		limits.Descriptors = uint64(r.Size())
	}
	cfg.Room = limits.Room()
	poller := &poller{
		source: src, producer: p, stamper: st, config: cfg, sleeper: cfg.Sleeper,
		frames: make([]ring.Frame, cfg.Batch), done: make(chan struct{}),
		monitor: sched.NewMonitor(sched.Config{
			Clock: st, Core: cfg.Core, FIFO: cfg.FIFO, Limits: limits, Heartbeat: cfg.Heartbeat, StarvedAfter: cfg.StarvedAfter,
		}),
	}
	poller.stamped, _ = src.(Stamped)
	if poller.pooled, _ = src.(Pooled); poller.pooled != nil {
		poller.held.init(poller.pooled.Pool().Buffers)
	}
	if limits.Descriptors != 0 {
		poller.arrivals.capacity = limits.Descriptors + limits.PacketBuffer/smallestFrame
	}
	poller.path.init(cfg.Batch, cfg.SnapLen, cfg.Dedup)
	poller.selectPath()
	if cfg.Rules == nil {
		cfg.Rules = newRuleSet(nil)
	}
	poller.requested.Store(cfg.Rules)
	return poller
}

// selectPath selects the fast path, the one with rules or without duplicates, or the
// slow path.
func (p *poller) selectPath() {
	simple := p.stamped == nil && p.stamper.Policy() == clock.PerPacket && p.config.Count == nil
	p.fast = simple && p.path.rules == nil && p.path.table == nil
	p.cut = simple && !p.fast && p.pooled == nil
}

// run polls until stop or drain is called, then ends the stream. It locks the
// calling goroutine to its thread. An error means that it could not start; the
// stream is ended then, too.
func (p *poller) run() error {
	defer close(p.done)
	defer p.producer.Finish()
	runtime.LockOSThread()
	// Unlocked only if the thread's affinity and policy are unchanged: otherwise
	// the thread ends with the goroutine.
	if p.config.Core == AnyCore && p.config.FIFO == 0 {
		defer runtime.UnlockOSThread()
	}
	if err := p.monitor.Start(); err != nil {
		return err
	}
	defer func() { p.monitor.Stop(p.sample(p.stamper.Ticks())) }()
	defer p.publish()
	if p.sleeper != nil {
		p.producer.Sleeps(p.wake)
	}
	p.lastPoll = p.stamper.Ticks()
	for idle := 0; ; {
		// Read before the poll: frames may arrive between an empty poll and drain.
		draining := p.stopping.Load() == draining
		n := p.poll()
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

// stop makes run return after the current batch, even under backpressure.
func (p *poller) stop() {
	p.stopping.Store(stopped)
	p.wake()
}

// drain makes run return once a poll returns no frame. After stop it has no effect.
func (p *poller) drain() {
	p.stopping.CompareAndSwap(running, draining)
	p.wake()
}

// poll polls and stores one batch and returns its length, or -1 if the poller was
// stopped under backpressure.
func (p *poller) poll() int {
	now := p.stamper.Ticks()
	gap := p.stamper.Nanoseconds(now - p.lastPoll)
	p.monitor.Observe(gap)
	blocked := p.shared.blocked.Load()
	work := gap - min(gap, blocked-p.blocked)
	p.blocked = blocked
	long := p.longGap()
	if gap >= long {
		p.monitor.Begin(p.sample(now), gap)
	}
	p.lastPoll = now
	p.polls++
	p.boundArrivals(now)
	// A1: acquire, pairs with R1 in Engine.SetRules.
	if s := p.requested.Load(); s != p.applied {
		p.apply(s)
	}
	taken := p.polled
	n, full, stored := p.receive()
	if p.stamped == nil {
		p.arrivals.polled(now, taken, n, full)
	}
	if !stored {
		return -1
	}
	if !full {
		p.emptied = now
	}
	p.saturation(n, full, work, long)
	if p.monitor.Open() {
		p.monitor.Polled(p.sample(p.stamper.Ticks()), n, full)
	}
	return n
}

// receive polls and stores one batch. It returns its length, whether more may have arrived
// because it ends at a limit (a full batch), and false if the poller was stopped under
// backpressure.
func (p *poller) receive() (n int, full, stored bool) {
	if p.pooled != nil {
		n, full = p.receivePooled()
		return n, full, true
	}
	if n = p.source.Poll(p.frames); n == 0 {
		return 0, false, true
	}
	if p.samples() {
		p.config.Spread.sample(&p.frames[0])
	}
	return n, n == len(p.frames), p.store(p.frames[:n])
}

// samples reports whether how the port spreads a frame of this batch is looked at.
func (p *poller) samples() bool { return p.config.Spread != nil && p.dirty == 0 }

// longGap is the time in ns from which a gap between two polls is one. Behind a long row of
// full batches, a few times the shortest of them is still the poller's own work.
func (p *poller) longGap() uint64 {
	const few = 4
	if p.streak <= p.config.Room {
		return sched.LongGap
	}
	return max(sched.LongGap, few*p.shortest)
}

// saturation counts the time of the batch before this poll, work without backpressure, if
// both belong to a row of full batches that is longer than what ring and packet buffer
// hold: frames then arrive as fast as the poller takes them, or faster.
func (p *poller) saturation(n int, full bool, work, long uint64) {
	switch {
	case !full:
		p.streak, p.shortest = 0, 0
		return
	case p.streak > p.config.Room && work < long:
		p.busy += work
		fallthrough
	case p.streak > 0:
		if p.shortest == 0 || work < p.shortest {
			p.shortest = work
		}
	}
	p.streak += n
}

// sample returns the poller's state at now, in ticks.
func (p *poller) sample(now uint64) sched.Sample {
	return sched.Sample{Now: now, Poll: p.lastPoll, Frames: p.polled, Bytes: p.bytes}
}

// idle passes the time after so many empty polls in succession.
func (p *poller) idle(polls int) {
	p.empty++
	p.producer.Publish() // a listener may wait for an aligned start
	if p.dirty > 0 || polls%yieldAfter == 0 {
		p.publish()
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
		time.Sleep(nap)
	}
	p.monitor.Attribute(p.lastPoll, 0, p.stamper.Ticks()-began)
}

// count adds a batch. Other goroutines see it after at most publishEvery batches,
// or at the next empty poll.
func (p *poller) count(frames int, bytes uint64) {
	p.polled += uint64(frames)
	p.bytes += bytes
	if p.dirty++; p.dirty == publishEvery {
		p.publish()
	}
}

// publish makes the counters visible to other goroutines.
func (p *poller) publish() {
	p.dirty = 0
	p.shared.polls.Store(p.polls)
	p.shared.empty.Store(p.empty)
	p.shared.frames.Store(p.polled)
	p.shared.bytes.Store(p.bytes)
	p.shared.sleeps.Store(p.sleeps)
	p.shared.slept.Store(p.slept)
	p.shared.busy.Store(p.busy)
	p.shared.filtered.Store(p.path.filtered)
	p.shared.duplicates.Store(p.path.duplicates)
	if p.path.rules != nil {
		p.path.rules.publish()
	}
	if p.sleeper != nil {
		p.producer.Notify()
	}
	p.monitor.Publish()
	p.monitor.Refresh(p.sample(p.lastPoll))
}

// counters returns the published counters. Any goroutine may call it.
func (p *poller) counters() PollerCounters {
	s := &p.shared
	c := PollerCounters{
		Polls: s.polls.Load(), Empty: s.empty.Load(),
		Frames: s.frames.Load(), Bytes: s.bytes.Load(),
		Backpressure: s.backpressure.Load(), Abandoned: s.abandoned.Load(),
		Filtered: s.filtered.Load(), Duplicates: s.duplicates.Load(),
		Sleeps: s.sleeps.Load(), Slept: time.Duration(s.slept.Load()),
	}
	c.Load = sched.Load{
		Frames: c.Frames, Busy: time.Duration(s.busy.Load()),
		Backpressure: time.Duration(s.blocked.Load()),
	}
	c.Gaps, c.Longest = p.monitor.Read()
	return c
}

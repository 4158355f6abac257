package sched

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	refreshAfter = 10_000_000 // ns between readings of the thread's usage
	minRateTime  = 1_000_000  // ns from which a rate is computed
)

// Clock is the time base of samples. A clock.Stamper is one.
type Clock interface {
	Ticks() uint64
	Nanoseconds(ticks uint64) uint64
}

// Sample is the state of a poller.
type Sample struct {
	Now    uint64 // ticks
	Poll   uint64 // ticks at the start of the last poll
	Frames uint64 // polled since the poller started
	Bytes  uint64 // of these frames
}

// Config configures a Monitor.
type Config struct {
	Clock  Clock
	Core   int // that the thread is pinned to, or AnyCore
	FIFO   int // SCHED_FIFO priority, 0 for the ordinary policy
	Limits Limits

	// Heartbeat makes a thread with SCHED_FIFO return to the ordinary policy when no
	// other goroutine has run for StarvedAfter (default 2 s); nil: it never does.
	Heartbeat    *Heartbeat
	StarvedAfter time.Duration
}

// Monitor determines the causes of a polling thread's gaps. The thread itself
// calls all methods but Worst, Waited, Buckets and Demoted, which any goroutine may call.
type Monitor struct {
	Histogram
	log    gapLog
	config Config
	thread threadUsage
	fifo   bool
	watchdog

	tid    atomic.Int64 // of the thread; 0: not started
	waited atomic.Int64 // ns on a run queue, when the thread read it last

	last  usage  // of the thread, at most refreshAfter old
	state Sample // when it was read; Now only

	poll                 uint64 // ticks of the poll that the next two follow
	backpressure, paused uint64 // ticks

	open   bool
	opened uint64 // ticks
	rate   uint64 // frames per second before the gap
	gap    Gap    // the one that is open
}

// NewMonitor returns a Monitor for a thread that calls Start.
func NewMonitor(cfg Config) *Monitor {
	if cfg.StarvedAfter == 0 {
		cfg.StarvedAfter = starvedAfter
	}
	return &Monitor{config: cfg, watchdog: watchdog{heartbeat: cfg.Heartbeat, after: cfg.StarvedAfter}}
}

// Start gives the calling thread its core and policy, and begins to read the
// thread's counters.
func (m *Monitor) Start() error {
	if m.config.Core != AnyCore {
		if err := pin(m.config.Core); err != nil {
			return err
		}
	}
	if m.config.FIFO != 0 {
		if err := setFIFO(m.config.FIFO); err != nil {
			return err
		}
	}
	preciseTimers()
	m.fifo = m.config.FIFO != 0
	m.thread.open()
	m.last, m.state = m.read(), Sample{Now: m.config.Clock.Ticks()}
	m.tid.Store(int64(unix.Gettid()))
	return nil
}

// read reads the thread's counters.
func (m *Monitor) read() usage {
	u := m.thread.read()
	m.waited.Store(int64(u.waited))
	return u
}

// Waited returns for how long the thread was runnable and had no core. Any goroutine may
// call it, also while the thread waits.
func (m *Monitor) Waited() time.Duration {
	if tid := m.tid.Load(); tid != 0 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", tid))
		if err == nil {
			_, waited := schedstat(text)
			return time.Duration(max(int64(waited), m.waited.Load()))
		}
	}
	return time.Duration(m.waited.Load()) // the thread has ended
}

// Stop ends the gap that is open, if any, and stops reading.
func (m *Monitor) Stop(s Sample) {
	m.finish(s)
	m.read()
	m.tid.Store(0)
	m.thread.close()
	m.log.close()
}

// Attribute states why time passes after the poll that began at poll: ticks of
// backpressure or of an idle pause.
func (m *Monitor) Attribute(poll, backpressure, paused uint64) {
	if m.poll != poll {
		m.poll, m.backpressure, m.paused = poll, 0, 0
	}
	m.backpressure += backpressure
	m.paused += paused
}

// Begin opens a gap of ns, from s.Poll to s.Now. It does not allocate.
func (m *Monitor) Begin(s Sample, ns uint64) {
	u := m.read()
	if m.open && ns < uint64(m.gap.Length)/8 {
		m.last = u // part of a much longer gap whose frames are still being polled
		return
	}
	m.finish(s)
	m.open, m.opened, m.rate = true, s.Now, 0
	if before := m.config.Clock.Nanoseconds(s.Poll - m.state.Now); before >= minRateTime && s.Poll > m.state.Now {
		m.rate = perSecond(s.Frames-m.state.Frames, before)
	}
	m.gap = Gap{
		End: time.Now(), Length: time.Duration(ns),
		Preempted: u.preempted - m.last.preempted, Blocked: u.blocked - m.last.blocked,
		Waited: time.Duration(u.waited - m.last.waited),
	}
	if m.poll == s.Poll {
		m.gap.Backpressure = time.Duration(m.config.Clock.Nanoseconds(m.backpressure))
		m.gap.Paused = time.Duration(m.config.Clock.Nanoseconds(m.paused))
	}
	m.gap.Waited = min(m.gap.Waited, m.gap.Length) // part of it may belong to a short gap before
	m.gap.Cause = m.gap.cause(u, m.fifo)
	m.last = u
}

// Open reports whether a gap is open. Polled is then called after each poll.
func (m *Monitor) Open() bool { return m.open }

// Polled counts the frames of a poll while a gap is open. The gap is complete when
// a poll returned less than a full batch, or when its length has passed again.
func (m *Monitor) Polled(s Sample, frames int, full bool) {
	m.gap.Frames += uint64(frames)
	if !full || m.config.Clock.Nanoseconds(s.Now-m.opened) > max(uint64(m.gap.Length), refreshAfter) {
		m.finish(s)
	}
}

// finish assesses the gap that is open, if any, and logs it.
func (m *Monitor) finish(s Sample) {
	if !m.open {
		return
	}
	m.open = false
	m.gap.Rate = m.rate
	ns := m.config.Clock.Nanoseconds(s.Now - m.state.Now)
	m.gap.assess(s.Frames-m.state.Frames, s.Bytes-m.state.Bytes, ns, &m.config.Limits)
	if m.gap.Frames > 0 || m.gap.Cause != CausePaused { // else no frame had to be buffered
		m.log.put(&m.gap)
	}
	m.state = s
}

// Refresh runs the watchdog and, every 10 ms, reads the thread's counters, which
// the next gap is compared with. s.Now is the start of the last poll.
func (m *Monitor) Refresh(s Sample) {
	if m.fifo {
		m.watch(s.Now)
	}
	if m.open || m.config.Clock.Nanoseconds(s.Now-m.state.Now) < refreshAfter {
		return
	}
	m.last, m.state = m.read(), s
	m.log.retry()
}

// Worst returns the worst gaps, excessive ones first, then by length, and the
// number of excessive gaps.
func (m *Monitor) Worst() (worst []Gap, excessive uint64) { return m.log.read() }

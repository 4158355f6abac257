package sched

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A thread with SCHED_FIFO that never sleeps can keep every other thread of the
// program from running, also the one that would end the capture: where other
// real-time threads occupy the remaining cores, or where the kernel does not move
// the rest to them. So an ordinary goroutine increments a counter, and a poller
// that does not see it change returns to the ordinary policy.
//
//	Heartbeat.Run ─► counter ─► Monitor.Refresh: unchanged for StarvedAfter ─► SCHED_OTHER

const (
	beatEvery    = 100 * time.Millisecond
	starvedAfter = 2 * time.Second
)

// Heartbeat is a counter that grows as long as ordinary goroutines run.
type Heartbeat struct{ count atomic.Uint64 }

// Run increments the counter until done is closed.
func (h *Heartbeat) Run(done <-chan struct{}) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			h.Beat()
		}
	}
}

// Beat increments the counter once.
func (h *Heartbeat) Beat() { h.count.Add(1) }

// watchdog is the poller's side.
type watchdog struct {
	heartbeat *Heartbeat // nil: none
	after     time.Duration

	seen    uint64
	at      uint64      // ticks when it changed
	demoted atomic.Bool // the policy was given up
}

// watch returns the thread to the ordinary policy when the heartbeat has stopped.
// Only a thread that has SCHED_FIFO calls it.
func (m *Monitor) watch(now uint64) {
	d := &m.watchdog
	if d.heartbeat == nil {
		return
	}
	n := d.heartbeat.count.Load()
	if n != d.seen || d.at == 0 {
		d.seen, d.at = n, now
		return
	}
	if m.config.Clock.Nanoseconds(now-d.at) < uint64(d.after) {
		return
	}
	d.at = now // after an error, the next attempt follows after the same time
	if unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL}, 0) == nil {
		m.fifo = false
		d.demoted.Store(true)
	}
}

// Demoted reports whether the watchdog took SCHED_FIFO from the thread.
func (m *Monitor) Demoted() bool { return m.demoted.Load() }

package sim

import (
	"runtime"
	"time"

	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

// Times of the device thread. Each pass holds n.mu for at most one batch of frames
// in each direction, then yields to register accesses.
const (
	batch = 256 // frames of one Receive

	linkPeriod = time.Millisecond
	spinTime   = 2 * time.Millisecond // without work before the first sleep
	sleepMin   = 20 * time.Microsecond

	// The thread does not spin while no frame arrives for longer than quietGap: it sleeps until
	// wakeEarly before, at most sleepExternal.
	quietGap  = 200 * time.Microsecond
	wakeEarly = 60 * time.Microsecond

	// Frames of a wire without a schedule come at unknown times, from other threads
	// that need the processor. Sleeps get longer with the idle time.
	spinExternal  = 100 * time.Microsecond
	sleepExternal = time.Millisecond

	yieldEvery    = 64                     // busy passes between two yields of the processor
	sleepQuiet    = 5 * time.Millisecond   // while nothing can arrive
	sleepDetached = 100 * time.Millisecond // without a client; Attach wakes the thread
)

func (n *NIC) run(started chan<- error) {
	defer close(n.done)
	// With Config.Thread the goroutine is locked to its OS thread and does not yield:
	// that would switch between two threads, which takes milliseconds on a busy
	// machine.
	yield := runtime.Gosched
	if n.cfg.Thread != nil {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		yield = func() {}
		if err := n.cfg.Thread(); err != nil {
			started <- err
			return
		}
	}
	started <- nil
	var idle time.Time // since when, zero while busy
	schedule, scheduled := n.wire.(wire.Scheduled)
	spin := spinExternal
	if scheduled {
		spin = spinTime
	}
	for pass := 0; !n.closing.Load(); pass++ {
		wakes := n.wakes.Load()
		n.mu.Lock()
		now := time.Now()
		busy, next := n.step(now)
		listening, detached := n.rx.listening, n.detached()
		var wait time.Duration // during which there is nothing to do
		if scheduled && next == 0 && n.cfg.Thread == nil {
			wait = schedule.Early()
		}
		n.mu.Unlock()
		n.yield()
		if busy {
			idle = time.Time{}
			if pass%yieldEvery == 0 {
				yield()
			}
			continue
		}
		if idle.IsZero() {
			idle = now
		}
		sleep := sleepMin
		if !listening {
			if sleep = sleepQuiet; detached {
				sleep = sleepDetached
			}
		} else if wait > quietGap {
			sleep = min(wait-wakeEarly, sleepExternal)
		} else if quiet := now.Sub(idle); quiet < spin {
			yield()
			continue
		} else if !scheduled {
			sleep = min(max(quiet/16, sleepMin), sleepExternal)
		}
		if next > 0 {
			sleep = min(sleep, time.Duration(next-now.UnixNano()))
		}
		// S1: asleep is stored before wakes is loaded. Pairs with S2 in wake: one of the
		// two sees the other's store.
		n.asleep.Store(true)
		if n.wakes.Load() == wakes && sleep > 0 {
			n.bells.wait(sleep)
		}
		n.asleep.Store(false)
	}
}

// Step makes one pass of a device without a thread (Config.Stepped) at a time, which never goes
// back. It reports whether there was work.
func (n *NIC) Step(now time.Time) bool {
	n.lock()
	defer n.mu.Unlock()
	n.tx.clock = func() time.Time { return now }
	busy, _ := n.step(now)
	return busy
}

// step is one pass: link, tails, transmit, receive, interrupts. It reports whether
// there was work, and when a moderated interrupt or a queue with a rate limit is due
// (ns since 1970, 0: none).
func (n *NIC) step(now time.Time) (busy bool, next int64) {
	if n.removed {
		return n.removedStep(), 0
	}
	if now.Sub(n.link.checked) >= linkPeriod || !n.link.up {
		n.link.checked = now
		n.checkLink(now)
	}
	if n.dirty {
		n.dirty = false
		n.configure()
	}
	err := server.Recover(func() error {
		busy, next = n.transmit(now)
		busy = n.receive() || busy
		return nil
	})
	if err != nil {
		n.fault("access host memory: %v", err)
		for p := range n.functions {
			p.mem.invalidate()
		}
		if n.rx.halt() {
			n.stats.Unwritten++
		}
		n.tx.halt()
		n.flushCounts()
		busy = true // the rest of the batch remains
	}
	if due := n.interrupt(now.UnixNano()); next == 0 || due != 0 && due < next {
		next = due
	}
	for _, v := range n.vfs {
		if due := v.interrupt(now.UnixNano()); due != 0 && (next == 0 || due < next) {
			next = due
		}
	}
	return busy, next
}

// removedStep counts the frames of the wire of a removed function.
func (n *NIC) removedStep() bool {
	rx := &n.rx
	if rx.next == rx.got {
		rx.next, rx.got = 0, n.poll(fifoBytes)
	}
	busy := rx.next < rx.got
	for ; rx.next < rx.got; rx.next++ {
		n.offered(len(rx.frames[rx.next].Data))
		n.stats.Removed++
	}
	n.stats.Removed += uint64(rx.fifo.frames())
	rx.fifo.clear()
	if rx.eof {
		n.finish()
	}
	return busy
}

package sim

import (
	"runtime"
	"time"

	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

// The device thread. Each pass holds n.mu for at most one batch of frames in
// each direction, then lets register accesses in.
const (
	batch = 256 // frames taken from the wire at once

	linkPeriod = time.Millisecond
	spinTime   = 2 * time.Millisecond // without work before the first nap
	shortNap   = 20 * time.Microsecond

	// A wire without a schedule has no frame that is due at a known time. Its
	// port leaves the processor to the frames' other end, and sleeps the longer
	// the longer nothing has come.
	spinLive = 100 * time.Microsecond
	napLive  = time.Millisecond

	yieldEvery = 64                     // busy passes between two offers of the processor to others
	longNap    = 5 * time.Millisecond   // while nothing can arrive
	lonelyNap  = 100 * time.Millisecond // without a client, who wakes the thread when it comes
)

func (n *NIC) run(started chan<- error) {
	defer close(n.done)
	// The goroutine is not locked to a thread unless it is told to: yielding would
	// then be a switch between two threads, which on a busy machine takes
	// milliseconds. A locked one does not yield.
	yield := runtime.Gosched
	if n.cfg.Thread != nil {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		yield = func() {}
		if err := n.cfg.Thread(); err != nil {
			started <- err
			return
		}
	}
	started <- nil
	var idle time.Time // since when, zero while busy
	_, paced := n.wire.(wire.Scheduled)
	spin := spinLive
	if paced {
		spin = spinTime
	}
	for pass := 0; !n.closing.Load(); pass++ {
		kicks := n.kicks.Load()
		n.mu.Lock()
		now := time.Now()
		busy, next := n.step(now)
		listening, lonely := n.rx.listening, n.host == nil
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
		nap := shortNap
		if !listening {
			if nap = longNap; lonely {
				nap = lonelyNap
			}
		} else if quiet := now.Sub(idle); quiet < spin {
			yield()
			continue
		} else if !paced {
			nap = min(max(quiet/16, shortNap), napLive)
		}
		if next > 0 {
			nap = min(nap, time.Duration(next-now.UnixNano()))
		}
		n.asleep.Store(true)
		if n.kicks.Load() == kicks && nap > 0 {
			n.bells.wait(nap)
		}
		n.asleep.Store(false)
	}
}

// step is one pass: link, tails, transmit, receive, interrupts. It reports
// whether there was anything to do, and when a throttled interrupt is due.
func (n *NIC) step(now time.Time) (busy bool, next int64) {
	if n.removed {
		return n.removedStep(), 0
	}
	if now.Sub(n.link.changed) >= linkPeriod || !n.link.up {
		n.link.changed = now
		n.checkLink(now)
	}
	if n.dirty {
		n.dirty = false
		n.configure()
	}
	err := server.Recover(func() error {
		busy = n.transmit()
		busy = n.receive() || busy
		return nil
	})
	if err != nil {
		n.fault("host memory went away while the device used it: %v", err)
		n.mem.forget()
		if n.rx.halt() {
			n.stats.Unwritten++
		}
		n.tx.halt()
		n.flushCounts()
		busy = true // the rest of the batch is still to be done
	}
	return busy, n.interrupt(now.UnixNano())
}

// removedStep drains the wire of a function that has been pulled out.
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

package driver

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// missedLimit is how many waits in a row may end by timeout with frames in the ring
// before the vector is taken for dead. A single one may be a frame that came just then.
const missedLimit = 3

// SleepStats counts the sleeps of a queue's reader.
type SleepStats struct {
	Sleeps     uint64 // all
	Interrupts uint64 // ended by the queue's interrupt
	Missed     uint64 // ended by timeout with frames waiting: the interrupt was lost
}

// sleeper is what a receive queue needs to sleep. Except for event and the atomics
// only the queue's goroutine uses it.
//
//	        Sleep                       device                    Sleep
//	EIMS_EX |= vector ──►  frame: cause & EIMS_EX ──► message ──► eventfd ──► Poll
//	load the next DD         EIMS_EX &= ^vector (EIAM_EX, by itself)
//
// A frame that arrives between the last Poll and the store to EIMS_EX has left its
// cause in EICR, so that the store alone raises the message. One that came before the
// load of DD is seen by it. So no frame is missed, in whatever order the accesses
// reach the device.
type sleeper struct {
	vector
	event      *eventFD
	regs       pci.Region
	reportDead func() // wakes the watcher, which reports the dead vector

	mod    moderation
	last   uint64 // descriptors polled at the last call of Sleep
	since  int64  // no descriptor was polled since then, ns
	itr    int64  // interval in EITR; -1: not written
	armed  bool   // the vector was enabled and has not fired since
	missed int    // missed interrupts in a row

	poll  [1]unix.PollFd
	limit unix.Timespec
	buf   [8]byte

	woken atomic.Bool // Wake was called
	dead  atomic.Bool // the vector does not fire
	stats struct{ sleeps, interrupts, missed atomic.Uint64 }
}

// start is the origin of nanotime.
var start = time.Now()

func nanotime() int64 { return int64(time.Since(start)) }

// connect lets the queue sleep until v signals event.
func (q *RxQueue) connect(regs pci.Region, v vector, event *eventFD, reportDead func()) {
	s := &sleeper{
		vector: v,
		event:  event, regs: regs, reportDead: reportDead, itr: -1,
	}
	s.mod.ring = uint64(q.size)
	s.poll[0] = unix.PollFd{Fd: int32(event.fd), Events: unix.POLLIN}
	s.moderate()
	q.sleeper = s
}

// CanSleep reports whether Sleep can sleep: the port was opened with QueueInterrupts.
func (q *RxQueue) CanSleep() bool { return q.sleeper != nil }

// Sleep is for a reader whose Poll returned no frame. It sleeps until the device has
// received a frame, Wake is called, or limit has passed. It returns false without
// sleeping if frames have arrived, or arrive at a rate at which polling is better.
// Poll again in either case. Sleep blocks the calling thread and does not allocate.
//
// If the vector does not fire although frames arrive, because device or transport is
// broken, Sleep from then on waits only as long as the ring can hold what arrives,
// and the port reports it (Config.OnEvent, VectorDead).
func (q *RxQueue) Sleep(limit time.Duration) bool {
	s := q.sleeper
	if s == nil {
		return false
	}
	now, polled := nanotime(), q.polled()
	if polled != s.last {
		s.last, s.since = polled, now
	}
	s.mod.observe(now, polled)
	if now-s.since < s.mod.quietTime() {
		return false
	}
	if s.dead.Load() {
		s.waitEvent(min(limit, s.mod.pollInterval()))
		return true
	}
	if s.armed {
		s.event.drain(&s.buf) // an interrupt that came during polling
	}
	s.moderate()
	s.regs.Store32(s.enable, s.bit)
	s.armed = true
	if s.woken.Swap(false) { // acquire A4, pairs with the release R4 in Wake
		s.event.drain(&s.buf)
		return false
	}
	if q.waiting() {
		return false
	}
	before := nanotime()
	signalled := s.waitEvent(limit)
	after := nanotime()
	if !signalled && after-before >= int64(limit) && q.waiting() {
		s.missedInterrupt()
	}
	if after-now > int64(longSleep) {
		s.mod.begin(after, polled)
	}
	return true
}

// waitEvent waits for the event and reports whether it was signalled.
func (s *sleeper) waitEvent(limit time.Duration) bool {
	s.stats.sleeps.Add(1)
	if !ppoll(s.poll[:], &s.limit, limit) {
		return false
	}
	s.event.drain(&s.buf)
	if !s.woken.Swap(false) { // acquire A4
		s.interrupted()
	}
	return true
}

// interrupted is called when the vector has fired, and masked itself.
func (s *sleeper) interrupted() {
	s.armed = false
	s.missed = 0
	s.stats.interrupts.Add(1)
}

// missedInterrupt is called when a wait timed out with a frame in the ring.
func (s *sleeper) missedInterrupt() {
	s.stats.missed.Add(1)
	if s.missed++; s.missed >= missedLimit {
		s.declareDead()
	}
}

func (s *sleeper) declareDead() {
	s.dead.Store(true)
	s.reportDead()
}

// moderate writes EITR if the interval for the current rate differs by more than a
// quarter: over a socket a store costs a system call.
func (s *sleeper) moderate() {
	want := int64(s.mod.interval())
	if s.itr >= 0 && 4*max(want, s.itr) <= 5*min(want, s.itr) {
		return
	}
	s.itr = want
	s.regs.Store32(s.interval, reg.EITR_INTERVAL.Val(uint32(want))|reg.EITR_CNT_WDIS.Val(1))
}

// Wake ends the Sleep in progress, or the next one, at once. It may be called from
// any goroutine.
func (q *RxQueue) Wake() {
	if s := q.sleeper; s != nil {
		s.woken.Store(true) // release R4, pairs with the acquires A4 in Sleep and waitEvent
		s.event.signal()
	}
}

// SleepStats returns the counters. It may be called from any goroutine.
func (q *RxQueue) SleepStats() SleepStats {
	s := q.sleeper
	if s == nil {
		return SleepStats{}
	}
	return SleepStats{Sleeps: s.stats.sleeps.Load(), Interrupts: s.stats.interrupts.Load(), Missed: s.stats.missed.Load()}
}

// waiting reports whether the device has filled the next descriptor.
//
// A queue whose pool is empty waits for a chunk, which no interrupt announces.
func (q *RxQueue) waiting() bool {
	return q.owned == 0 || q.descs[q.next].Status()&ring.RxDD != 0
}

// polled returns the number of descriptors polled so far.
func (q *RxQueue) polled() uint64 {
	if q.pooled {
		return q.recycled
	}
	return q.recycled + uint64(ring.Distance(q.posted, q.next, q.size))
}

// deadText is the text of the event about a dead vector.
func (s *sleeper) deadText(queue int) string {
	if n := s.stats.interrupts.Load(); n > 0 {
		return fmt.Sprintf("MSI-X vector %d (receive queue %d) is dead: fired %d times, then not although frames arrived; "+
			"the queue is polled every %v instead", s.number, queue, n, s.mod.pollInterval())
	}
	return fmt.Sprintf("MSI-X vector %d (receive queue %d) is dead: it never fired; the queue is polled every %v instead. "+
		"Check that MSI-X is enabled and that the device's interrupt reaches this process", s.number, queue, s.mod.pollInterval())
}

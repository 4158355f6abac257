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

// lateLimit is how many sleeps in a row may end by time with frames in the ring
// before the vector is given up. One alone may be a frame that came just then.
const lateLimit = 3

// SleepStats says how a queue's reader slept.
type SleepStats struct {
	Sleeps     uint64 // times it slept
	Interrupts uint64 // ended by the queue's interrupt
	Late       uint64 // ended by time although frames were waiting: the interrupt was lost
}

// sleeper is what a receive queue needs to sleep. All but event and what is
// atomic is used by the queue's goroutine only.
//
//	        Sleep                       device                    Sleep
//	EIMS_EX |= vector ──►  frame: cause & EIMS_EX ──► message ──► eventfd ──► Poll
//	look at the ring         EIMS_EX &= ^vector (EIAM_EX, by itself)
//
// A frame that arrives between the last Poll and the arming has left its cause
// behind, so that arming alone makes the message go out. One that came before the
// look is seen by it. So none is slept over, whatever the order on the bus.
type sleeper struct {
	vector int
	event  *eventFD
	regs   pci.Region
	tell   func() // makes the port look at silent

	mod   moderation
	last  uint64 // descriptors taken when Sleep was called last
	since int64  // since when nothing has come, ns
	itr   int64  // interval in EITR; -1: not known
	armed bool   // armed before, and not heard of since
	late  int    // sleeps in a row that ended by time though frames waited

	poll  [1]unix.PollFd
	limit unix.Timespec
	buf   [8]byte

	woken  atomic.Bool // Wake was called
	silent atomic.Bool // the vector is not to be relied on
	stats  struct{ sleeps, interrupts, late atomic.Uint64 }
}

// start is when the clock of Sleep began to tick.
var start = time.Now()

func nanotime() int64 { return int64(time.Since(start)) }

// connect lets the queue sleep until vector signals event.
func (q *RxQueue) connect(regs pci.Region, vector int, event *eventFD, tell func()) {
	s := &sleeper{vector: vector, event: event, regs: regs, tell: tell, itr: -1}
	s.mod.ring = uint64(q.size)
	s.poll[0] = unix.PollFd{Fd: int32(event.fd), Events: unix.POLLIN}
	s.moderate()
	q.sleeper = s
}

// CanSleep tells whether Sleep sleeps: the port was opened with QueueInterrupts.
func (q *RxQueue) CanSleep() bool { return q.sleeper != nil }

// Sleep is for a reader whose Poll gave nothing. It sleeps until the device has
// received something, Wake is called, or limit has passed, and tells whether it
// slept at all: it does not while so much arrives that polling is the better way,
// nor when frames have come meanwhile. Poll once more in any case. It blocks
// the calling thread and does not allocate.
//
// A vector that does not fire although frames arrive, which a broken device or
// transport may do, is noticed: from then on Sleep takes naps that are short
// enough for the ring, and the port reports it (Config.OnEvent).
func (q *RxQueue) Sleep(limit time.Duration) bool {
	s := q.sleeper
	if s == nil {
		return false
	}
	now, taken := nanotime(), q.taken()
	if taken != s.last {
		s.last, s.since = taken, now
	}
	s.mod.observe(now, taken)
	if now-s.since < s.mod.patience() {
		return false
	}
	if s.silent.Load() {
		s.doze(min(limit, s.mod.nap()))
		return true
	}
	if s.armed {
		s.event.take(&s.buf) // an interrupt nobody waited for
	}
	s.moderate()
	s.regs.Store32(uint32(reg.EIMS_EX(s.vector/32).Offset), 1<<(s.vector%32))
	s.armed = true
	if s.woken.Swap(false) {
		s.event.take(&s.buf)
		return false
	}
	if q.waiting() {
		return false
	}
	before := nanotime()
	signalled := s.doze(limit)
	then := nanotime()
	if !signalled && then-before >= int64(limit) && q.waiting() {
		s.overslept()
	}
	if then-now > int64(quiet) {
		s.mod.begin(then, taken)
	}
	return true
}

// doze sleeps and tells whether something ended it.
func (s *sleeper) doze(limit time.Duration) bool {
	s.stats.sleeps.Add(1)
	if !doze(s.poll[:], &s.limit, limit) {
		return false
	}
	s.event.take(&s.buf)
	if !s.woken.Swap(false) {
		s.heard()
	}
	return true
}

// heard: the vector has fired, and masked itself.
func (s *sleeper) heard() {
	s.armed = false
	s.late = 0
	s.stats.interrupts.Add(1)
}

// overslept: time was up, and frames were there.
func (s *sleeper) overslept() {
	s.stats.late.Add(1)
	if s.late++; s.late >= lateLimit {
		s.giveUp()
	}
}

func (s *sleeper) giveUp() {
	s.silent.Store(true)
	s.tell()
}

// moderate writes EITR when the rate asks for something else; not for every
// little change, for over a socket a store costs a system call.
func (s *sleeper) moderate() {
	want := int64(s.mod.interval())
	if s.itr >= 0 && 4*max(want, s.itr) <= 5*min(want, s.itr) {
		return
	}
	s.itr = want
	s.regs.Store32(uint32(reg.EITR(s.vector).Offset), reg.EITR_INTERVAL.Val(uint32(want))|reg.EITR_CNT_WDIS.Val(1))
}

// Wake ends the Sleep under way, or the next one, at once. It may be called from
// any goroutine.
func (q *RxQueue) Wake() {
	if s := q.sleeper; s != nil {
		s.woken.Store(true)
		s.event.signal()
	}
}

// SleepStats may be called from any goroutine.
func (q *RxQueue) SleepStats() SleepStats {
	s := q.sleeper
	if s == nil {
		return SleepStats{}
	}
	return SleepStats{Sleeps: s.stats.sleeps.Load(), Interrupts: s.stats.interrupts.Load(), Late: s.stats.late.Load()}
}

// waiting tells whether the device has filled the next descriptor. It acquires,
// as Poll does.
func (q *RxQueue) waiting() bool { return q.descs[q.next].Status()&ring.RxDD != 0 }

// taken is the number of descriptors that were polled so far.
func (q *RxQueue) taken() uint64 {
	return q.returned + uint64(ring.Distance(q.given, q.next, q.size))
}

// silence is what to tell about a vector that was given up.
func (s *sleeper) silence(queue int) string {
	if n := s.stats.interrupts.Load(); n > 0 {
		return fmt.Sprintf("MSI-X vector %d (receive queue %d) fired %d times and then no more though frames arrived; "+
			"the queue is looked at every %v instead", s.vector, queue, n, s.mod.nap())
	}
	return fmt.Sprintf("MSI-X vector %d (receive queue %d) never fired; the queue is looked at every %v instead: "+
		"is MSI-X enabled, and does the device's interrupt reach this process?", s.vector, queue, s.mod.nap())
}

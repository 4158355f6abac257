package driver

import (
	"math/bits"
	"time"
)

// Moderation: how often a queue may interrupt. Between two messages of a vector
// the device waits for its interval (EITR), so that many frames share a wake-up.
const (
	// The bounds are those of Linux (IXGBE_ITR_ADAPTIVE_MIN_USECS and _MAX_USECS):
	// 10 us where hardly anything comes and delay is what matters, 126 us under load.
	shortest = 10 * time.Microsecond
	longest  = 126 * time.Microsecond

	// fullAt is the rate in frames per second from which on the interval is the longest.
	fullAt = 100_000

	// frameTime is how long a frame of 60 bytes takes at 10 Gb/s.
	frameTime = 67 * time.Nanosecond

	// wakeTime is how long a busy machine may take to run a thread that has been
	// woken. A queue whose ring fills in less is polled until it is quiet for linger.
	wakeTime = time.Millisecond
	linger   = 100 * time.Microsecond

	// window is what rates are measured over; after a sleep of more than quiet the
	// time asleep is no part of it, else the first burst would look slow.
	window = time.Millisecond
	quiet  = 10 * time.Millisecond

	itrUnit = 2048 * time.Nanosecond // of EITR's interval at 1 and 10 Gb/s
	itrMost = 1<<9 - 1               // EITR_INTERVAL has 9 bits
)

// moderation follows a queue's rate. Times are nanoseconds of the monotonic clock.
type moderation struct {
	ring  uint64 // descriptors
	from  int64  // when the window began
	first uint64 // descriptors taken by then
	rate  uint64 // descriptors per second in the last window
}

// observe is told how many descriptors have been taken by now.
func (m *moderation) observe(now int64, taken uint64) {
	if passed := now - m.from; passed >= int64(window) {
		// In 128 bits: a queue that is never empty is not observed for hours.
		high, low := bits.Mul64(taken-m.first, uint64(time.Second))
		m.rate, _ = bits.Div64(high%uint64(passed), low, uint64(passed))
		m.begin(now, taken)
	}
}

func (m *moderation) begin(now int64, taken uint64) { m.from, m.first = now, taken }

// patience is how long the queue must have been empty before sleeping pays.
func (m *moderation) patience() int64 {
	if m.rate*uint64(wakeTime)/uint64(time.Second) > m.ring {
		return int64(linger)
	}
	return 0
}

// interval is the time between interrupts, in units of EITR. What arrives
// meanwhile at line rate takes at most half of the ring.
func (m *moderation) interval() uint32 {
	t := time.Duration(min(m.rate, fullAt)) * longest / fullAt
	t = max(t, shortest)
	t = min(t, time.Duration(m.ring)*frameTime/2)
	return uint32(min(t/itrUnit, itrMost))
}

// nap is how long a queue whose vector is silent may sleep: what arrives
// meanwhile at line rate takes at most half of the ring.
func (m *moderation) nap() time.Duration { return time.Duration(m.ring) * frameTime / 2 }

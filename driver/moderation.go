package driver

import (
	"math/bits"
	"time"
)

// Moderation limits the interrupts of a queue. Between two messages of a vector the
// device waits for its interval (EITR), so that many frames share a wake-up.
const (
	// The bounds are those of Linux (IXGBE_ITR_ADAPTIVE_MIN_USECS and _MAX_USECS):
	// 10 us at low rates, where delay matters, 126 us under load.
	minInterval = 10 * time.Microsecond
	maxInterval = 126 * time.Microsecond

	// fullRate is the rate in frames per second from which on the interval is maxInterval.
	fullRate = 100_000

	// frameTime is the time of a frame of 60 bytes at 10 Gb/s.
	frameTime = 67 * time.Nanosecond

	// wakeLatency is how long a busy machine may take to run a woken thread. A queue
	// whose ring fills in less is polled until it has been empty for minQuiet.
	wakeLatency = time.Millisecond
	minQuiet    = 100 * time.Microsecond

	// window is the time over which rates are measured. A sleep of more than longSleep
	// begins a new one; otherwise the first burst after it would seem slow.
	window    = time.Millisecond
	longSleep = 10 * time.Millisecond

	itrUnit = 2048 * time.Nanosecond // of EITR's interval at 1 and 10 Gb/s
	itrMax  = 1<<9 - 1               // EITR_INTERVAL has 9 bits
)

// moderation measures a queue's rate. Times are nanoseconds of the monotonic clock.
type moderation struct {
	ring  uint64 // descriptors
	from  int64  // begin of the window
	first uint64 // descriptors polled by then
	rate  uint64 // descriptors per second in the last window
}

// observe updates the rate; polled is the number of descriptors polled by now.
func (m *moderation) observe(now int64, polled uint64) {
	if passed := now - m.from; passed >= int64(window) {
		// 128 bits: a queue that is never empty may not be observed for hours.
		high, low := bits.Mul64(polled-m.first, uint64(time.Second))
		m.rate, _ = bits.Div64(high%uint64(passed), low, uint64(passed))
		m.begin(now, polled)
	}
}

func (m *moderation) begin(now int64, polled uint64) { m.from, m.first = now, polled }

// quietTime returns how long the queue must have been empty before Sleep sleeps, in ns.
func (m *moderation) quietTime() int64 {
	if m.rate*uint64(wakeLatency)/uint64(time.Second) > m.ring {
		return int64(minQuiet)
	}
	return 0
}

// interval returns the time between interrupts, in units of EITR. What arrives in it
// at line rate fills at most half of the ring.
func (m *moderation) interval() uint32 {
	t := time.Duration(min(m.rate, fullRate)) * maxInterval / fullRate
	t = max(t, minInterval)
	t = min(t, time.Duration(m.ring)*frameTime/2)
	return uint32(min(t/itrUnit, itrMax))
}

// pollInterval returns how long a queue with a dead vector may sleep: what arrives in
// it at line rate fills at most half of the ring.
func (m *moderation) pollInterval() time.Duration { return time.Duration(m.ring) * frameTime / 2 }

package xdp

import "time"

// moderation spaces the wake-ups of a poller that frames end: waking up costs more than
// taking hundreds of frames. It is the interrupt moderation of network cards. A pause is
// short enough for the ring even if frames begin to arrive as fast as can be.
type moderation struct {
	length time.Duration // of the next pause
	most   time.Duration
	many   uint32 // descriptors of a pause from which the next one is shorter
	last   uint32 // descriptors taken before this pause
}

// Frames per second and queue that a driver passes on at most: with a copy by the kernel,
// and at 10 Gb/s.
const (
	fastestCopy = 4_000_000
	fastestWire = 14_880_952
)

const shortestPause = 50 * time.Microsecond // the kernel's timers are no finer

// newModeration returns the one for a ring of so many descriptors. Half of the ring may
// fill up in a pause at the fastest rate. Frames without stamps of the program get the
// poller's, which a pause makes late.
func newModeration(entries int, mode Mode, stamped bool) moderation {
	fastest := time.Duration(fastestCopy)
	if mode == ZeroCopy {
		fastest = fastestWire
	}
	most := time.Duration(entries/2) * time.Second / fastest
	if !stamped {
		most = min(most, shortestPause)
	}
	return moderation{length: most, most: most, many: uint32(entries / 8)}
}

// next adapts the length to the descriptors since the last call, of which the poller has
// taken so many in total. It reports whether there were any.
func (m *moderation) next(taken uint32) bool {
	n := taken - m.last
	m.last = taken
	if n > m.many {
		m.length = max(m.length/2, min(shortestPause, m.most))
	} else {
		m.length = min(m.length*2, m.most)
	}
	return n != 0
}

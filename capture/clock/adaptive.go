package clock

import "github.com/ixcap/ixcap/ring"

// What is known about the frames of a batch when it has been polled:
//
//	         before              Emptied                         Polled
//	...───────┤                     ┆                               ┆
//	          |--- wire 1 ---|--- wire 2 ---|          the earliest they can have been
//	                        E-wire1 |- wire 1 -|- wire 2 -|       and still not seen then
//
// A frame ends no earlier than its time on the wire after the one before; the
// first was not there at Emptied, and all were at Polled. What is left of the
// time (slack) says which kind of traffic it is.
//
//   - None: the frames came all at once, because device or poller was late. They
//     lie back to back, and end at Polled.
//   - Less than the longest frame takes, and the link was busy all the way: the
//     poller looked while the next frame was on its way. The frames lie back to
//     back from the last stamp on, and what the poller's rhythm adds to each
//     reading of the clock is in no stamp.
//   - The link was busy without a pause until now, and the queue was empty for a
//     moment all the same: then the device is believed to be late, not the link.
//     The frames lie back to back as before, until a number of frames in a row were
//     late; then all move by what the least late of them was.
//   - More: nobody knows when, so evenly, which is least wrong.
//   - A full batch: there may be any number of frames behind it, so that Polled
//     says little. The frames lie as far apart as they did of late.

// A byte takes 0.8 ns at 10 Gb/s. On slower links frames are further apart than
// need be: the bounds hold, but are less tight.
const (
	psPerByte    = 800
	longestFrame = (1518 + 20) * psPerByte / 1000 // ns
)

func wireNs(bytes uint64) int64 { return int64(bytes * psPerByte / 1000) }

// adaptive chooses where the frames of a batch go.
func (s *Stamper) adaptive(frames []ring.Frame, before int64, known bool, w Window, end int64) (r rates) {
	bytes := onWire(frames)
	wire := wireNs(bytes)
	if !known { // the first batch: nothing came before it
		before = max(before, s.since(before, known, w, end)-wire)
	}
	begin, idle, doubted := before, false, false
	if w.Emptied != 0 {
		if e := s.ns(w.Emptied) - wireNs(wireBytes(frames[0].Len)); !s.load.doubts(e - begin) {
			idle = e > begin
			begin = max(begin, e)
		} else {
			begin, doubted = begin+s.load.shift(), true
		}
	} else if !w.Full {
		begin, idle = max(begin, end-wire), true // a sleep: the first frame has ended it
	}
	slack := end - begin - wire
	last := end
	switch {
	case before+wire > end:
		r.spread(before, end, bytes, 0)
	case slack < 0:
		r.steady(end-wire, end)
	case w.Full:
		last = begin + s.load.stretch(wire, end-begin)
		r.spread(begin, last, bytes, 0)
	case doubted || !idle && slack <= longestFrame:
		r.steady(begin, end)
		last = begin + wire
	default:
		r.steady(begin, end)
		each := slack / int64(len(frames)+1)
		r.perFrame = uint64(each) << r.point
		last = end - each
	}
	if known {
		s.load.add(uint64(wire), uint64(last-before))
	}
	return r
}

// steady makes rates at which frames lie back to back, beginning at from; to is
// the end of all.
func (r *rates) steady(from, to int64) {
	r.from, r.to, r.point = from, to, pointFor(uint64(to-from))
	r.perByte = psPerByte << r.point / 1000
}

// load is how busy the link was of late.
type load struct {
	wire, passed uint64 // ns

	excess int64 // least of those doubted since the last shift, ns
	since  int   // how many they are
}

const (
	loadMemory = 1 << 18 // ns on the wire over which the load is measured
	longestGap = 1 << 20 // ns: a longer one says nothing about what comes after it
)

// add counts so much time on the wire in so much time that passed.
func (l *load) add(wire, passed uint64) {
	l.wire += wire
	l.passed += min(passed, wire+longestGap)
	if l.wire > loadMemory {
		l.wire, l.passed = l.wire/2, l.passed/2
	}
}

const (
	full     = 1 << 14 // ns on the wire before a link is called busy
	patience = 64_000  // ns by which a frame may be seen late without being believed to have come late
	enough   = 16      // frames in a row that were late before it is believed
)

// doubts tells whether frames that were seen so much later than they can have come
// are believed to be late only in being seen: on a link that has had no pauses.
func (l *load) doubts(excess int64) bool {
	if excess <= 0 || excess > patience || l.wire < full || l.passed-l.passed/32 > l.wire {
		l.since = 0
		return false
	}
	if l.since == 0 || excess < l.excess {
		l.excess = excess
	}
	l.since++
	return true
}

// shift is by how much the frames really were late, if as many as it takes were.
func (l *load) shift() int64 {
	if l.since < enough {
		return 0
	}
	l.since = 0
	return l.excess
}

// stretch is how long frames that take so long on the wire have taken of late,
// at most so long.
func (l *load) stretch(wire, most int64) int64 {
	if l.wire == 0 {
		return wire
	}
	return max(wire, min(most, int64(uint64(wire)*max(l.passed, l.wire)/l.wire)))
}

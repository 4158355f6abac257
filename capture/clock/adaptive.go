package clock

import "github.com/ixcap/ixcap/ring"

// What is known about the frames of a batch after the poll:
//
//	         before              Emptied                         Polled
//	...───────┤                     ┆                               ┆
//	          |--- wire 1 ---|--- wire 2 ---|          earliest, after the last stamp
//	                        E-wire1 |- wire 1 -|- wire 2 -|       earliest, not seen at Emptied
//
// A frame ends no earlier than its time on the wire after the frame before. The
// first frame arrived after Emptied, and all arrived before Polled. The rest of that
// time (slack) decides how the frames are placed:
//
//   - No slack: the frames were seen at once, because device or poller was late. They
//     are placed back to back and end at Polled.
//   - Less slack than the time of the longest frame, on a busy link: the poll came
//     while the next frame was on the wire. The frames are placed back to back from
//     the last stamp on, so the interval between polls adds no error.
//   - The link was busy without a pause, but the queue was empty for a moment: the
//     device is taken to be late, not the link. The frames are placed back to back,
//     until lateBatches batches in a row were late; then all move by the smallest of
//     these delays.
//   - More slack: the frames are placed evenly, which minimises the error.
//   - A full batch: more frames may wait behind it, so Polled is no good bound. The
//     frames are placed at the recent density of the link.

// A byte takes 0.8 ns at 10 Gb/s. On slower links the bounds hold but are less tight.
const (
	psPerByte    = 800
	longestFrame = (1518 + 20) * psPerByte / 1000 // ns
)

func wireNs(bytes uint64) int64 { return int64(bytes * psPerByte / 1000) }

// adaptive returns the places of the frames of a batch.
func (s *Stamper) adaptive(frames []ring.Frame, before int64, known bool, w Window, end int64) (r rates) {
	bytes := wireTotal(frames)
	wire := wireNs(bytes)
	if !known { // the first batch
		before = max(before, s.spanStart(before, known, w, end)-wire)
	}
	begin, idle, late := before, false, false
	if w.Emptied != 0 {
		if e := s.ns(w.Emptied) - wireNs(wireBytes(&frames[0])); !s.load.deviceLate(e - begin) {
			idle = e > begin
			begin = max(begin, e)
		} else {
			begin, late = begin+s.load.confirmedDelay(), true
		}
	} else if !w.Full {
		begin, idle = max(begin, end-wire), true // a sleep, which the first frame has ended
	}
	slack := end - begin - wire
	last := end
	switch {
	case before+wire > end:
		r.spread(before, end, bytes, 0)
	case slack < 0:
		r.backToBack(end-wire, end)
	case w.Full:
		last = begin + s.load.stretch(wire, end-begin)
		r.spread(begin, last, bytes, 0)
	case late || !idle && slack <= longestFrame:
		r.backToBack(begin, end)
		last = begin + wire
	default:
		r.backToBack(begin, end)
		each := slack / int64(len(frames)+1)
		r.perFrame = uint64(each) << r.point
		last = end - each
	}
	if known {
		s.load.add(uint64(wire), uint64(last-before))
	}
	return r
}

// backToBack places frames back to back from from on; no stamp is later than to.
func (r *rates) backToBack(from, to int64) {
	r.from, r.to, r.point = from, to, pointFor(uint64(to-from))
	r.perByte = psPerByte << r.point / 1000
}

// load is the recent load of the link.
type load struct {
	wire, passed uint64 // ns

	excess  int64 // smallest delay of the late batches in a row, ns
	lateRun int   // number of late batches in a row
}

const (
	loadMemory = 1 << 18 // ns on the wire over which the load is measured
	maxGap     = 1 << 20 // ns: a longer pause counts as this long
)

// add adds wire ns on the wire in passed ns.
func (l *load) add(wire, passed uint64) {
	l.wire += wire
	l.passed += min(passed, wire+maxGap)
	if l.wire > loadMemory {
		l.wire, l.passed = l.wire/2, l.passed/2
	}
}

const (
	busyAfter   = 1 << 14 // ns on the wire before a link counts as busy
	maxLate     = 64_000  // ns: an excess above this is a delay of the link
	lateBatches = 16      // late batches in a row that are a delay of the link
)

// deviceLate reports whether a batch that was seen excess ns after its earliest
// arrival was delayed by the device: on a link that had no pauses.
func (l *load) deviceLate(excess int64) bool {
	if excess <= 0 || excess > maxLate || l.wire < busyAfter || l.passed-l.passed/32 > l.wire {
		l.lateRun = 0
		return false
	}
	if l.lateRun == 0 || excess < l.excess {
		l.excess = excess
	}
	l.lateRun++
	return true
}

// confirmedDelay returns the delay of the link if lateBatches batches in a row were
// late, else 0.
func (l *load) confirmedDelay() int64 {
	if l.lateRun < lateBatches {
		return 0
	}
	l.lateRun = 0
	return l.excess
}

// stretch returns the time that frames with wire ns on the wire take at the recent
// load, at most most ns.
func (l *load) stretch(wire, most int64) int64 {
	if l.wire == 0 {
		return wire
	}
	return max(wire, min(most, int64(uint64(wire)*max(l.passed, l.wire)/l.wire)))
}

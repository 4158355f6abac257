package clock

import (
	"math/bits"

	"github.com/ixcap/ixcap/ring"
)

// Window is what a poller knows about the arrival of a batch, in ticks of the counter
// (Stamper.Ticks).
type Window struct {
	// Emptied is the start of the last poll that returned less than it could: no
	// frame of this batch was in the ring then. 0: not known, or long ago.
	Emptied uint64
	Polled  uint64 // when Poll returned the batch
	Full    bool   // the batch is as long as a poll can return; more frames may wait
}

// wireBytes returns the bytes that a frame occupies on the link, including padding
// to the smallest frame, CRC, preamble and the gap between frames.
func wireBytes(f *ring.Frame) uint64 {
	length := f.Len
	if f.Info&ring.HasCRC != 0 {
		length -= 4
	}
	return uint64(max(length, 60)) + 24
}

// Group is the number of frames that the policy stamps at once: a poller splits longer
// batches and reads the counter for each part. 0: no limit.
func (s *Stamper) Group() int { return s.policy.every() }

// Batch stamps the frames of a batch: all that were on the wire, also those that will
// not be stored. stamps is as long as frames. Stamps never go backwards and do not
// exceed Polled, unless the clock was set back to before the last stamp. The stamper
// must have been updated.
//
//	stamp i = from + (bytes of frames 0 to i on the wire * perByte) + (i+1) * perFrame
//
// It divides only once a batch.
func (s *Stamper) Batch(frames []ring.Frame, w Window, stamps []Stamp) {
	if len(frames) == 0 {
		return
	}
	stamps = stamps[:len(frames)]
	if s.policy == PerPacket {
		for i := range stamps {
			stamps[i] = s.Stamp()
		}
		return
	}
	end := s.ns(w.Polled)
	before, known := s.lastStamp()
	if before > end {
		end = before // the clock was set back, or runs slower now
	}
	var r rates
	switch s.policy {
	case Batch:
		r.from, r.to = end, end
	case Uniform:
		r.spread(s.spanStart(before, known, w, end), end, 0, uint64(len(frames)))
	case Weighted:
		r.spread(s.spanStart(before, known, w, end), end, wireTotal(frames), 0)
	case Adaptive:
		r = s.adaptive(frames, before, known, w, end)
	default: // Sample: an empty queue is a reading, too
		from := s.spanStart(before, known, w, end)
		if w.Emptied != 0 {
			from = min(max(from, s.ns(w.Emptied)), end)
		}
		r.spread(from, end, wireTotal(frames), 0)
	}
	s.apply(&r, frames, stamps)
	polled := s.ns(w.Polled)
	s.polled, s.lag = w.Polled, max(0, polled-int64(s.line.Last))
	s.span = uint64(max(0, polled+int64(s.line.Sec*second-stamps[0].UnixNano())))
}

// Span returns how many nanoseconds before Polled the first stamp of the last batch
// lies. PerPacket has no batches.
func (s *Stamper) Span() uint64 { return s.span }

// rates places the frames of a batch, in ns from the start of the current second.
// perByte and perFrame are ns times 2^point.
type rates struct {
	from, to int64 // no stamp is later than to
	perByte  uint64
	perFrame uint64
	point    int
}

// pointFor returns the binary point for rates over a span in ns: their products stay
// below 2^62, and stamps are exact to the nanosecond for batches of up to some
// seconds.
func pointFor(span uint64) int { return min(32, bits.LeadingZeros64(span|1)-2) }

// spread distributes the time between from and to over bytes, or over frames if bytes
// is 0.
func (r *rates) spread(from, to int64, bytes, frames uint64) {
	span := uint64(to - from)
	r.from, r.to, r.point = from, to, pointFor(span)
	if bytes != 0 {
		r.perByte = span << r.point / bytes
	} else {
		r.perFrame = span << r.point / frames
	}
}

func wireTotal(frames []ring.Frame) (bytes uint64) {
	for i := range frames {
		bytes += wireBytes(&frames[i])
	}
	return bytes
}

// apply writes the stamps that rates give; the last becomes the stamper's last.
func (s *Stamper) apply(r *rates, frames []ring.Frame, stamps []Stamp) {
	var at uint64 // from r.from, times 2^point
	var last int64
	sec, began := s.line.Sec, int64(0)
	half := uint64(1) << r.point >> 1
	perByte, perFrame, point := r.perByte, r.perFrame, r.point
	for i := range stamps {
		at += wireBytes(&frames[i])*perByte + perFrame
		last = min(r.from+int64((at+half)>>point), r.to)
		if last-began >= second {
			n := (last - began) / second
			sec += uint64(n)
			began += n * second
		}
		stamps[i] = Stamp(sec | uint64(last-began)<<32)
	}
	s.line.Sec = sec
	s.line.Base -= uint64(began)
	s.line.Last = uint64(last - began)
}

// ns returns the time at a counter reading, from the start of the current second. The
// reading may lie before the line's origin.
func (s *Stamper) ns(tick uint64) int64 {
	l := &s.line
	if int64(tick-l.Tick) < 0 {
		return int64(l.Base - scale(l.Tick-tick, l.Rate))
	}
	return int64(l.Base + scale(tick-l.Tick, l.Rate))
}

// lastStamp returns the last stamp of the batch before, on the current line: if the
// clock has jumped ahead since, it is moved by the jump. known is false for the first
// batch.
func (s *Stamper) lastStamp() (ns int64, known bool) {
	if s.polled == 0 {
		return int64(s.line.Last), false
	}
	return max(int64(s.line.Last), s.ns(s.polled)-s.lag), true
}

// spanStart returns the start of the time that uniform and weighted stamps divide. For
// the first batch that is when the queue was seen empty.
func (s *Stamper) spanStart(before int64, known bool, w Window, end int64) int64 {
	switch {
	case known:
		return min(before, end)
	case w.Emptied != 0:
		return min(max(before, s.ns(w.Emptied)), end)
	default:
		return end
	}
}

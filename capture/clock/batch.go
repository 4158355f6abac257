package clock

import (
	"math/bits"

	"github.com/ixcap/ixcap/ring"
)

// Window is what a poller knows about when the frames of a batch arrived, in
// ticks of the counter (Stamper.Ticks).
type Window struct {
	// Emptied is the start of the last poll that returned less than it could:
	// what it did not see was not there. 0: not known, or long ago.
	Emptied uint64
	Polled  uint64 // Poll returned the batch then
	Full    bool   // the batch is as long as a poll can return: there may be more
}

// wireBytes is what a frame takes of the link, in bytes: padding to the smallest
// frame, CRC, preamble and the gap between frames included.
func wireBytes(length uint32) uint64 { return uint64(max(length, 60)) + 24 }

// Group is how many frames the policy wants to be handed at once: a poller cuts
// longer batches and reads the clock for each part. 0: all.
func (s *Stamper) Group() int { return s.policy.every() }

// Batch stamps the frames of a batch, all that were on the wire, whether or not
// they will be stored; stamps is as long as frames. Stamps never go backwards,
// and do not go beyond Polled, unless the clock was set back by more than was
// left until then. The stamper must have been updated.
//
//	stamp i = from + (bytes of frames 0 to i on the wire * perByte) + (i+1) * perFrame
//
// It divides once a batch.
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
	before, known := s.before()
	if before > end {
		end = before // the clock was set back, or runs slower than before
	}
	var r rates
	switch s.policy {
	case Batch:
		r.from, r.to = end, end
	case Uniform:
		r.spread(s.since(before, known, w, end), end, 0, uint64(len(frames)))
	case Weighted:
		r.spread(s.since(before, known, w, end), end, onWire(frames), 0)
	case Adaptive:
		r = s.adaptive(frames, before, known, w, end)
	default: // Sample: that the queue was empty is a reading, too
		from := s.since(before, known, w, end)
		if w.Emptied != 0 {
			from = min(max(from, s.ns(w.Emptied)), end)
		}
		r.spread(from, end, onWire(frames), 0)
	}
	s.apply(&r, frames, stamps)
	s.polled, s.lag = w.Polled, max(0, s.ns(w.Polled)-int64(s.line.Last))
}

// rates is where the frames of a batch go, ns since the current second began:
// perByte and perFrame are ns times 2^point.
type rates struct {
	from, to int64 // no stamp is later than to
	perByte  uint64
	perFrame uint64
	point    int
}

// pointFor is a binary point for rates over so many nanoseconds: with it their
// products stay below 2^62, and stamps are exact to the nanosecond but where
// batches are longer than some seconds.
func pointFor(span uint64) int { return min(32, bits.LeadingZeros64(span|1)-2) }

// spread makes rates that go from one time to another over so many bytes, or
// frames if bytes is 0.
func (r *rates) spread(from, to int64, bytes, frames uint64) {
	span := uint64(to - from)
	r.from, r.to, r.point = from, to, pointFor(span)
	if bytes != 0 {
		r.perByte = span << r.point / bytes
	} else {
		r.perFrame = span << r.point / frames
	}
}

func onWire(frames []ring.Frame) (bytes uint64) {
	for i := range frames {
		bytes += wireBytes(frames[i].Len)
	}
	return bytes
}

// apply writes the stamps that rates give, and makes the last one the stamper's.
func (s *Stamper) apply(r *rates, frames []ring.Frame, stamps []Stamp) {
	var at uint64 // to be shifted, from r.from
	var last int64
	sec, began := s.line.Sec, int64(0)
	half := uint64(1) << r.point >> 1
	perByte, perFrame, point := r.perByte, r.perFrame, r.point
	for i := range stamps {
		at += wireBytes(frames[i].Len)*perByte + perFrame
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

// ns is the time at a reading of the counter, from the start of the current
// second; readings from before the line's origin are meant too.
func (s *Stamper) ns(tick uint64) int64 {
	l := &s.line
	if int64(tick-l.Tick) < 0 {
		return int64(l.Base - scale(l.Tick-tick, l.Rate))
	}
	return int64(l.Base + scale(tick-l.Tick, l.Rate))
}

// before is the last stamp of the batch before, on the line that is followed
// now: if the clock has jumped ahead in between, then so has that.
func (s *Stamper) before() (ns int64, known bool) {
	if s.polled == 0 {
		return int64(s.line.Last), false
	}
	return max(int64(s.line.Last), s.ns(s.polled)-s.lag), true
}

// since is the beginning of the time that uniform and weighted stamps divide.
// For the first batch that is when the queue was seen empty.
func (s *Stamper) since(before int64, known bool, w Window, end int64) int64 {
	switch {
	case known:
		return min(before, end)
	case w.Emptied != 0:
		return min(max(before, s.ns(w.Emptied)), end)
	default:
		return end
	}
}

package probe

import (
	"math"

	"slices"
)

// window is how far behind the newest sequence number of a stream a frame is told from a
// duplicate. Frames further behind count as reordered.
const window = 1 << 16

// maxDelays is the number of delays that are kept for the percentiles: beyond, every
// second one is, and so on.
const maxDelays = 1 << 20

// Analyzer reports on the marked frames of a capture. The zero value is ready to use.
type Analyzer struct {
	streams  [256]*stream
	unmarked uint64
}

// stream is the state of a stream.
type stream struct {
	Report
	first, newest uint64
	seen          [window / 64]uint64 // ring of bits: those up to window before newest
	last          int64               // delay of the frame before
	lastAt        int64
	delays        []int64
	every, skip   uint64
	sum, squares  float64
	ipdv          float64
	begin         int64
	base          int64 // delay of the first frame: sums are of the differences
}

// Report is what became of a stream.
type Report struct {
	Stream     uint8
	Frames     uint64 // received, without duplicates
	Bytes      uint64
	Lost       uint64 // between the first and the last sequence number received
	Reordered  uint64 // arrived behind a frame with a higher sequence number (RFC 4737)
	MaxExtent  uint64 // largest distance of such a frame from the newest, in sequence numbers
	Duplicates uint64

	// One-way delays, in ns: stamp of the receiver less the time of sending, by their two
	// clocks.
	MinDelay, MaxDelay               int64
	MeanDelay, StdDevDelay           float64
	MedianDelay, P99Delay, P999Delay int64
	Jitter                           float64 // smoothed, RFC 3550, 6.4.1
	MeanVariation                    float64 // mean amount of the difference of delays of successive frames (RFC 3393)
	Duration                         int64   // from the first frame to the last, ns
	MeanGap                          float64 // distance of successive frames, ns
	FirstSeq, LastSeq                uint64
}

// Add takes a frame with the stamp of the receiver, ns since 1970, and its length on the
// wire.
func (a *Analyzer) Add(frame []byte, length int, stamp int64) {
	m, ok := Parse(frame)
	if !ok {
		a.unmarked++
		return
	}
	s := a.streams[m.Stream]
	if s == nil {
		s = &stream{first: m.Seq, newest: m.Seq, every: 1, begin: stamp}
		s.Stream, s.MinDelay, s.MaxDelay = m.Stream, math.MaxInt64, math.MinInt64
		s.last = stamp - m.Sent
		s.base = s.last
		a.streams[m.Stream] = s
	}
	if s.duplicate(m.Seq) {
		s.Duplicates++
		return
	}
	s.Frames++
	s.Bytes += uint64(length)
	s.delay(stamp - m.Sent)
	s.lastAt = max(s.lastAt, stamp)
}

// duplicate records a sequence number and reports whether it was seen before.
func (s *stream) duplicate(seq uint64) bool {
	switch {
	case seq > s.newest:
		if n := seq - s.newest; n >= window {
			clear(s.seen[:])
		} else {
			for i := s.newest + 1; i < seq; i++ {
				s.seen[i%window/64] &^= 1 << (i % 64)
			}
		}
		s.newest = seq
	case s.newest-seq >= window:
		s.Reordered++ // or a duplicate: it is too old to tell
		s.MaxExtent = max(s.MaxExtent, s.newest-seq)
		s.first = min(s.first, seq)
		return false
	default:
		if s.seen[seq%window/64]>>(seq%64)&1 != 0 {
			return true
		}
		if seq < s.newest {
			s.Reordered++
			s.MaxExtent = max(s.MaxExtent, s.newest-seq)
			s.first = min(s.first, seq)
		}
	}
	s.seen[seq%window/64] |= 1 << (seq % 64)
	return false
}

func (s *stream) delay(d int64) {
	s.MinDelay, s.MaxDelay = min(s.MinDelay, d), max(s.MaxDelay, d)
	e := float64(d - s.base)
	s.sum += e
	s.squares += e * e
	if s.Frames > 1 {
		v := math.Abs(float64(d - s.last))
		s.ipdv += v
		s.Jitter += (v - s.Jitter) / 16
	}
	s.last = d
	if s.skip++; s.skip < s.every {
		return
	}
	s.skip = 0
	if len(s.delays) == maxDelays {
		for i := range maxDelays / 2 {
			s.delays[i] = s.delays[2*i]
		}
		s.delays = s.delays[:maxDelays/2]
		s.every *= 2
	}
	s.delays = append(s.delays, d)
}

// Unmarked returns the number of frames without a mark.
func (a *Analyzer) Unmarked() uint64 { return a.unmarked }

// Reports returns the reports of the streams so far, by number.
func (a *Analyzer) Reports() (all []Report) {
	for _, s := range a.streams {
		if s != nil {
			all = append(all, s.report())
		}
	}
	return all
}

func (s *stream) report() Report {
	r, n := s.Report, float64(s.Frames)
	r.FirstSeq, r.LastSeq = s.first, s.newest
	if span := s.newest - s.first + 1; span > s.Frames {
		r.Lost = span - s.Frames
	}
	mean := s.sum / n
	r.MeanDelay = float64(s.base) + mean
	r.StdDevDelay = math.Sqrt(max(0, s.squares/n-mean*mean))
	sorted := slices.Clone(s.delays)
	slices.Sort(sorted)
	if k := len(sorted); k > 0 {
		r.MedianDelay, r.P99Delay, r.P999Delay = sorted[k/2], sorted[min(k-1, k*99/100)], sorted[min(k-1, k*999/1000)]
	} else {
		r.MedianDelay, r.P99Delay, r.P999Delay = s.MinDelay, s.MaxDelay, s.MaxDelay
	}
	r.Duration = s.lastAt - s.begin
	if s.Frames > 1 {
		r.MeanVariation = s.ipdv / (n - 1)
		r.MeanGap = float64(r.Duration) / (n - 1)
	}
	return r
}

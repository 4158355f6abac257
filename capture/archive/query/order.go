package query

import "time"

// Order tells how far the result's packets of different sources can be out of the order
// in which they arrived. Those of one source are in that order, and so are those of a
// flow, both directions of which the NIC hashes to one queue.
type Order struct {
	Sources int // that returned packets
	// Bound is the largest difference of stamps that can be against the order of
	// arrival: the sum of the two largest uncertainties (index.Trailer) of the sources.
	Bound   time.Duration
	Unknown int // sources with files of which no uncertainty is known; Bound is of the others
}

// uncertainty is that of the stamps in a source's files that were read.
type uncertainty struct {
	longest time.Duration
	unknown bool // of some file
	growing int  // files that are being written: theirs is that of their stream
	stream  bool // it is in longest
}

// known reports whether the uncertainty of all files is known.
func (u uncertainty) known() bool {
	return !u.unknown && (u.stream || u.growing == 0 && u.longest > 0)
}

// addUncertainty adds the uncertainty of the stamps in a file of a source; 0: not known.
func (r *Result) addUncertainty(s *Source, d time.Duration) {
	u := r.stamps[s]
	u.longest, u.unknown = max(u.longest, d), u.unknown || d == 0
	r.stamps[s] = u
}

// addStream adds the uncertainty of the stamps in a source's stream; 0: not known.
func (r *Result) addStream(s *Source, d time.Duration) {
	u := r.stamps[s]
	u.longest, u.stream = max(u.longest, d), u.stream || d > 0
	r.stamps[s] = u
}

// addGrowing adds n files of a source that are being written.
func (r *Result) addGrowing(s *Source, n int) {
	u := r.stamps[s]
	u.growing += n
	r.stamps[s] = u
}

// Uncertainty returns how far a source's stamps may lie from the arrival of its packets,
// at most, as far as the files were read; 0: it is not known.
func (r *Result) Uncertainty(s *Source) time.Duration {
	if u := r.stamps[s]; u.known() {
		return u.longest
	}
	return 0
}

// Order returns the order of the packets so far.
func (r *Result) Order() (o Order) {
	var first, second time.Duration
	for _, s := range r.sources {
		if s.Number < 0 {
			continue
		}
		o.Sources++
		u := r.stamps[s]
		if !u.known() {
			o.Unknown++
		}
		first, second = max(first, u.longest), max(second, min(first, u.longest))
	}
	if o.Bound = first + second; o.Sources < 2 {
		o.Bound = 0
	}
	return o
}

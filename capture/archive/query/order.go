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
}

// addUncertainty adds the uncertainty of the stamps in a file of a source; 0: not known.
func (r *Result) addUncertainty(s *Source, d time.Duration) {
	u := r.stamps[s]
	r.stamps[s] = uncertainty{max(u.longest, d), u.unknown || d == 0}
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
		if u.unknown {
			o.Unknown++
		}
		first, second = max(first, u.longest), max(second, min(first, u.longest))
	}
	if o.Bound = first + second; o.Sources < 2 {
		o.Bound = 0
	}
	return o
}

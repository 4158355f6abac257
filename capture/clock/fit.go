package clock

import (
	"math"
	"time"
)

// sample is one simultaneous reading of counter and kernel clock.
type sample struct {
	tick  uint64
	wall  int64  // ns since 1970
	width uint64 // ticks that the reading took
}

// fitter follows the kernel's clock. The rate is measured between samples, and
// the line is steered towards the kernel's clock by that rate and its own error;
// it is continuous wherever the clock allows, and never goes back.
type fitter struct {
	history [8]sample // a ring, oldest at n
	n       int       // samples taken since the start or the last step
	rate    float64   // ns per tick
	line    *line     // published last
}

// report is what one fit found out.
type report struct {
	residual    int64 // line minus kernel clock, ns, before the correction
	uncertainty int64 // ns
	stepped     bool
}

func (f *fitter) begin(s sample) { f.history[0], f.n = s, 1 }

// fit takes a sample and returns the line for the next interval.
func (f *fitter) fit(s sample, next time.Duration) (*line, report) {
	oldest := f.history[max(0, f.n-len(f.history))%len(f.history)]
	ticks := float64(s.tick - oldest.tick)
	rate := float64(s.wall-oldest.wall) / ticks

	r := report{}
	if f.line != nil {
		r.residual = int64(f.line.at(s.tick)) - s.wall
		passed := ticks * f.rate
		if math.Abs(float64(s.wall-oldest.wall)-passed) > maxLead+passed*500e-6 {
			// The clock was set: what came before says nothing about where it is
			// now, but the counter has not changed its rate.
			r.stepped = true
			rate = f.rate
			f.n = 0
		}
	}
	f.rate = rate
	f.history[f.n%len(f.history)] = s
	f.n++
	r.uncertainty = int64(math.Ceil(float64(s.width) * rate / 2))

	f.line = f.steer(s, r.residual, next)
	return f.line, r
}

// steer is the line from a sample on: towards the kernel's clock, to be reached
// by the next fit if it can be.
func (f *fitter) steer(s sample, residual int64, next time.Duration) *line {
	from := s.wall
	slope := 1.0
	switch error := float64(residual) / float64(next); {
	case f.line == nil:
	case error > 0.5: // far ahead: half speed, until it is not
		from, slope = from+residual, 0.5
	case error > -0.001: // slightly off: bend
		from, slope = from+residual, 1-error
	}
	// Otherwise behind by more than a thousandth of the interval: jump forward.
	rate := f.rate * slope

	// The line is described from a point in the past, for readings of the
	// counter that are older than the sample or come from a core that is a
	// little behind. That part is never used for more than those.
	back := uint64(1e9 / f.rate)
	back = min(back, s.tick)
	fixed := uint64(rate*(1<<shift) + 0.5)
	return &line{tick: s.tick - back, ns: uint64(from) - scale(back, fixed), rate: fixed}
}

func (f *fitter) hertz() float64 { return 1e9 / f.rate }

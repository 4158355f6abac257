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
	n       int       // samples taken since the start, the last step or the last change of rate
	rate    float64   // ns per tick
	line    *line     // published last
	chasing bool      // the clock was set back, and the line waits for it at half speed
}

const (
	// Between two fits the kernel's clock can run away from the line by what NTP
	// slews it, from 500 ppm slow to 500 ppm fast, and by what reading it is off on
	// a busy machine. More than that, and somebody has set it.
	maxSlew  = 1000e-6
	maxError = 100_000 // ns

	// A rate that is off by more than this, and by more than the samples are
	// uncertain, has changed, or the clock was set by a little: what came before
	// says nothing about it.
	newRate = 1e-6

	// Residuals up to minor, ns, are made up slowly, over so many intervals, and
	// go on being made up when the next fit is late: stampers need not look for
	// the turn of such a line, and a fit two minutes late finds it 1.5 us off at most.
	minor     = 50
	minorSlow = 8
)

// report is what one fit found out.
type report struct {
	residual    int64 // line minus kernel clock, ns, before the correction
	uncertainty int64 // ns
	stepped     bool
	chasing     bool // the residual is what is left of a step
}

func (f *fitter) begin(s sample) { f.history[0], f.n = s, 1 }

// fit takes a sample and returns the line for the next interval.
func (f *fitter) fit(s sample, next time.Duration) (*line, report) {
	last := f.history[(f.n-1)%len(f.history)]
	ticks := float64(s.tick - last.tick)
	recent := float64(s.wall-last.wall) / ticks // rate since the last sample
	r := report{chasing: f.chasing}
	f.chasing = false
	if f.line == nil {
		f.rate = recent
	} else {
		r.residual = int64(f.line.at(s.tick)) - s.wall
		doubt := newRate + float64(s.width+last.width)/ticks
		switch passed := ticks * f.rate; {
		case math.Abs(float64(s.wall-last.wall)-passed) > maxError+passed*maxSlew:
			// The clock was set: what came before says nothing about where it is
			// now, but the counter has not changed its rate.
			r.stepped = true
			f.n = 0
		case f.n > 1 && math.Abs(recent/f.rate-1) > doubt:
			// Which of both the next fit will tell; until then the old rate.
			f.n = 0
		default:
			oldest := f.history[max(0, f.n-len(f.history))%len(f.history)]
			f.rate = float64(s.wall-oldest.wall) / float64(s.tick-oldest.tick)
		}
	}
	f.history[f.n%len(f.history)] = s
	f.n++
	r.uncertainty = int64(math.Ceil(float64(s.width) * f.rate / 2))

	f.line = f.steer(s, r.residual, next)
	return f.line, r
}

// steer is the line from a sample on: towards the kernel's clock, to be reached
// by the next fit if it can be, and along it from then on: the next fit may be
// late, for the goroutine gets no processor or the machine was suspended.
func (f *fitter) steer(s sample, residual int64, next time.Duration) *line {
	from := s.wall
	slope, turn := 1.0, float64(next) // ns by the line's clock until it has been reached
	if abs(residual) <= minor {
		next *= minorSlow
	}
	switch error := float64(residual) / float64(next); {
	case f.line == nil:
	case error > 0.5: // far ahead: half speed, until it is not
		from, slope, turn = from+residual, 0.5, 2*float64(residual)
		f.chasing = true
	case error > -0.001: // slightly off: bend
		from, slope = from+residual, 1-error
	}
	// Otherwise behind by more than a thousandth of the interval: jump forward.

	// The line is described from a point in the past, for readings of the
	// counter that are older than the sample or come from a core that is a
	// little behind. That part is never used for more than those.
	back := min(uint64(1e9/f.rate), s.tick)
	fixed := uint64(f.rate*slope*(1<<shift) + 0.5)
	l := &line{tick: s.tick - back, ns: uint64(from) - scale(back, fixed), rate: fixed}
	if slope != 1 && abs(residual) > minor {
		l.until = s.tick + uint64(turn/f.rate)
		rate := uint64(f.rate*(1<<shift) + 0.5)
		l.then = &line{tick: l.until - back, ns: l.ns + scale(l.until-l.tick, l.rate) - scale(back, rate), rate: rate}
	}
	return l
}

func (f *fitter) hertz() float64 { return 1e9 / f.rate }

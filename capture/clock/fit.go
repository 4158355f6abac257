package clock

import (
	"math"
	"time"
)

// sample is one simultaneous reading of counter and kernel clock.
type sample struct {
	tick  uint64
	wall  int64  // ns since 1970
	width uint64 // duration of the reading in ticks
}

// fitter follows the kernel's clock. It measures the rate between samples and steers
// the line towards the kernel's clock. The line is continuous unless the clock was
// set ahead, and never goes back.
type fitter struct {
	history [8]sample // a ring, oldest at n
	n       int       // samples taken since the start, the last step or the last change of rate
	rate    float64   // ns per tick
	line    *line     // published last
	slowed  bool      // the clock was set back, and the line runs at half speed until it has caught up
}

const (
	// Between two fits the kernel's clock can deviate from the line by NTP's slew,
	// from 500 ppm slow to 500 ppm fast, and by the error of a reading on a busy
	// machine. If it deviates by more, it was set.
	maxSlew  = 1000e-6
	maxError = 100_000 // ns

	// If the rate deviates by more than this, and by more than the samples'
	// uncertainty, it has changed, or the clock was set by a little: the samples
	// before do not apply any more.
	newRate = 1e-6

	// Residuals up to minor, ns, are corrected over minorSlow intervals, on a line
	// without a turn, so stampers need no check for it. If the next fit is two
	// minutes late, the line is off by 1.5 us at most.
	minor     = 50
	minorSlow = 8
)

// report is the result of one fit.
type report struct {
	residual    int64 // line minus kernel clock, ns, before the correction
	uncertainty int64 // ns
	stepped     bool
	slowed      bool // the residual is the rest of a step
}

func (f *fitter) begin(s sample) { f.history[0], f.n = s, 1 }

// fit adds a sample and returns the line for the next interval.
func (f *fitter) fit(s sample, next time.Duration) (*line, report) {
	last := f.history[(f.n-1)%len(f.history)]
	ticks := float64(s.tick - last.tick)
	recent := float64(s.wall-last.wall) / ticks // rate since the last sample
	r := report{slowed: f.slowed}
	f.slowed = false
	if f.line == nil {
		f.rate = recent
	} else {
		r.residual = int64(f.line.at(s.tick)) - s.wall
		doubt := newRate + float64(s.width+last.width)/ticks
		switch passed := ticks * f.rate; {
		case math.Abs(float64(s.wall-last.wall)-passed) > maxError+passed*maxSlew:
			// The clock was set: the samples before do not apply any more, but
			// the counter has kept its rate.
			r.stepped = true
			f.n = 0
		case f.n > 1 && math.Abs(recent/f.rate-1) > doubt:
			// The next fit shows which of both; until then the old rate.
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

// steer returns the line from a sample on. It leads to the kernel's clock, by the
// next fit if possible, and then along it: the next fit may be late, because the
// goroutine gets no processor or the machine is suspended.
func (f *fitter) steer(s sample, residual int64, next time.Duration) *line {
	from := s.wall
	slope, turn := 1.0, float64(next) // ns by the line until it has reached the kernel's clock
	if abs(residual) <= minor {
		next *= minorSlow
	}
	switch error := float64(residual) / float64(next); {
	case f.line == nil:
	case error > 0.5: // far ahead: half speed
		from, slope, turn = from+residual, 0.5, 2*float64(residual)
		f.slowed = true
	case error > -0.001: // slightly off: bend
		from, slope = from+residual, 1-error
	}
	// Otherwise behind by more than a thousandth of the interval: jump forward.

	// The line begins at a point in the past, for counter readings that are older
	// than the sample or come from a core that is a little behind.
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

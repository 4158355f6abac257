package clock

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	firstFit = 20 * time.Millisecond // until the second fit, then doubled
	lastFit  = 500 * time.Millisecond
	tries    = 16 // samples of which the fastest is kept
)

// Clock converts counter readings to time. Its methods may be called from any
// goroutine.
type Clock struct {
	source   source
	line     atomic.Pointer[line]
	stop     chan struct{}
	stopOnce sync.Once
	stopped  sync.WaitGroup

	mu     sync.Mutex
	fitter fitter
	status Status
}

// source is what a clock reads; tests have their own.
type source struct {
	name  string
	ticks func() uint64
	wall  func() int64 // ns since 1970
}

// Status is a clock's accuracy. Times are in nanoseconds.
type Status struct {
	Source      string  `json:"source"`          // "tsc", "cntvct" or "clock_gettime"
	Hertz       float64 `json:"frequency_hz"`    // of the counter, measured at the last fit
	Residual    int64   `json:"residual_ns"`     // stamps minus CLOCK_REALTIME at the last fit
	Worst       int64   `json:"max_residual_ns"` // largest residual at a fit, without steps
	Uncertainty int64   `json:"uncertainty_ns"`  // of Residual: half of the duration of the last sample
	Fits        uint64  `json:"fits"`
	Steps       uint64  `json:"steps"` // times that CLOCK_REALTIME was set
}

// New measures the counter for 20 ms and starts a clock. Close stops it.
func New() *Clock {
	wall := func() int64 { return time.Now().UnixNano() }
	if !invariant() {
		return direct(wall)
	}
	return start(source{counterName, Ticks, wall}, time.After)
}

// direct returns a clock without a counter: its ticks are the kernel's nanoseconds,
// and it needs no fits.
func direct(wall func() int64) *Clock {
	c := &Clock{source: source{"clock_gettime", func() uint64 { return uint64(wall()) }, wall}, stop: make(chan struct{})}
	c.status.Source, c.status.Hertz = c.source.name, 1e9
	c.line.Store(&line{rate: 1 << shift, direct: true})
	return c
}

// start returns a clock that is fitted to a source; after times the fits.
func start(s source, after func(time.Duration) <-chan time.Time) *Clock {
	c := &Clock{source: s, stop: make(chan struct{})}
	c.status.Source = s.name
	c.fitter.begin(c.sample())
	<-after(firstFit)
	c.fit(firstFit)
	c.stopped.Go(func() {
		for next := firstFit; ; next = min(2*next, lastFit) {
			select {
			case <-c.stop:
				return
			case <-after(next):
				c.fit(min(2*next, lastFit))
			}
		}
	})
	return c
}

// Close stops the fits. Stampers continue along the last line.
func (c *Clock) Close() {
	c.stopOnce.Do(func() { close(c.stop) })
	c.stopped.Wait()
}

// Status returns the clock's accuracy at the last fit.
func (c *Clock) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// fit takes one sample and publishes the line for the next interval.
func (c *Clock) fit(next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, r := c.fitter.fit(c.sample(), next)
	c.status.Hertz = c.fitter.hertz()
	c.status.Fits++
	c.status.Residual, c.status.Uncertainty = r.residual, r.uncertainty
	if r.stepped {
		c.status.Steps++
	} else if !r.slowed && abs(r.residual) > abs(c.status.Worst) {
		c.status.Worst = r.residual
	}
	// R1: the line is complete before its pointer is stored. Pairs with A1 in Update.
	c.line.Store(l)
}

// sample reads counter and kernel clock as simultaneously as possible: of several
// tries it returns the fastest.
func (c *Clock) sample() sample {
	best := sample{width: ^uint64(0)}
	for range tries {
		t0 := c.source.ticks()
		wall := c.source.wall()
		t1 := c.source.ticks()
		if width := t1 - t0; width < best.width {
			best = sample{tick: t0 + width/2, wall: wall, width: width}
		}
	}
	return best
}

// shift is the binary point of rates: a rate is ns per tick times 2^40. Between two
// fits the rounding error is far below a nanosecond; after a year without a fit it
// is 40 us for a counter of 2.6 GHz.
const shift = 40

// line is what stampers follow. It does not change after it is published.
type line struct {
	tick   uint64 // earlier than any counter reading that the line is used for
	ns     uint64 // at tick
	rate   uint64
	direct bool // no counter: every stamp calls the kernel

	// A line that corrects an error turns when that is done. A stamper that updates
	// late follows the first part a little longer, which is harmless.
	until uint64 // ticks; 0: never
	then  *line
}

// at returns the time in ns since 1970 at a counter reading.
func (l *line) at(tick uint64) uint64 {
	if l.turned(tick) {
		l = l.then
	}
	return l.ns + scale(tick-l.tick, l.rate)
}

// turned reports whether the line's second part applies at a counter reading.
func (l *line) turned(tick uint64) bool { return l.then != nil && int64(tick-l.until) > 0 }

// scale returns ticks times rate in whole nanoseconds, exact if the result is below
// 2^64.
func scale(ticks, rate uint64) uint64 {
	hi, lo := bits.Mul64(ticks, rate)
	return hi<<(64-shift) | lo>>shift
}

func abs(n int64) int64 { return max(n, -n) }

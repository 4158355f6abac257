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
	tries    = 16 // samples of which the quickest is kept
)

// Clock turns counter readings into time. Its methods may be called from any
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

// source is where a clock reads from; tests bring their own.
type source struct {
	name  string
	ticks func() uint64
	wall  func() int64 // ns since 1970
}

// Status says how good a clock is. Times are in nanoseconds.
type Status struct {
	Source      string  `json:"source"`          // "tsc", "cntvct" or "clock_gettime"
	Hertz       float64 `json:"frequency_hz"`    // of the counter, as measured last
	Residual    int64   `json:"residual_ns"`     // stamps minus CLOCK_REALTIME at the last fit
	Worst       int64   `json:"max_residual_ns"` // largest residual at a fit, steps left out
	Uncertainty int64   `json:"uncertainty_ns"`  // of Residual: half of what the last sample took
	Fits        uint64  `json:"fits"`
	Steps       uint64  `json:"steps"` // times that somebody set CLOCK_REALTIME
}

// New measures the counter for a moment and starts a clock. Close stops it.
func New() *Clock {
	wall := func() int64 { return time.Now().UnixNano() }
	if !invariant() {
		return direct(wall)
	}
	return start(source{counterName, Ticks, wall}, time.After)
}

// direct makes a clock without a counter: the kernel's nanoseconds are its
// ticks, and there is nothing to fit.
func direct(wall func() int64) *Clock {
	c := &Clock{source: source{"clock_gettime", func() uint64 { return uint64(wall()) }, wall}, stop: make(chan struct{})}
	c.status.Source, c.status.Hertz = c.source.name, 1e9
	c.line.Store(&line{rate: 1 << shift, direct: true})
	return c
}

// start makes a clock that fits itself to a source; after paces the fits.
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

// Close stops the fits. Stampers go on along the last line.
func (c *Clock) Close() {
	c.stopOnce.Do(func() { close(c.stop) })
	c.stopped.Wait()
}

// Status is the clock's quality now.
func (c *Clock) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// fit measures once, and publishes the line to follow for the next interval.
func (c *Clock) fit(next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, r := c.fitter.fit(c.sample(), next)
	c.status.Hertz = c.fitter.hertz()
	c.status.Fits++
	c.status.Residual, c.status.Uncertainty = r.residual, r.uncertainty
	if r.stepped {
		c.status.Steps++
	} else if !r.chasing && abs(r.residual) > abs(c.status.Worst) {
		c.status.Worst = r.residual
	}
	// Stampers load the pointer once a batch: readers see a whole line.
	c.line.Store(l)
}

// sample reads counter and kernel clock as nearly at once as can be: of several
// tries the one with the shortest time around the reading counts.
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

// shift is the binary point of rates: a rate is ns per tick times 2^40. At one
// fit in half a second the rounding is far below a nanosecond, and after a year
// without any it is 40 us for a counter of 2.6 GHz.
const shift = 40

// line is what stampers follow. It is never changed once published.
type line struct {
	tick   uint64 // earlier than any reading of the counter that meets the line
	ns     uint64 // at tick
	rate   uint64
	direct bool // no counter: ask the kernel each time

	// A line that corrects an error turns when that is done. A stamper that looks
	// late follows the first part for a little longer, which does no harm.
	until uint64 // ticks; 0: never
	then  *line
}

// at is the time in ns since 1970 at a reading of the counter.
func (l *line) at(tick uint64) uint64 {
	if l.turned(tick) {
		l = l.then
	}
	return l.ns + scale(tick-l.tick, l.rate)
}

// turned says whether the line's second part holds at a reading of the counter.
func (l *line) turned(tick uint64) bool { return l.then != nil && int64(tick-l.until) > 0 }

// scale is ticks times rate in nanoseconds, exact to the last one for any count
// of ticks that comes to less than 2^64 ns.
func scale(ticks, rate uint64) uint64 {
	hi, lo := bits.Mul64(ticks, rate)
	return hi<<(64-shift) | lo>>shift
}

func abs(n int64) int64 { return max(n, -n) }

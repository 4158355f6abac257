package series

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// longestPause is how many seconds without a packet are recorded as such between two stamps
// of a file. Those of a longer pause are missing.
const longestPause = 3600

// Recorder closes the seconds of its Counters and passes them on. Its methods may be called
// from any goroutine.
type Recorder struct {
	config  Config
	classes *classes
	delay   int64 // seconds

	mu       sync.Mutex
	counters []*Counter
	begun    bool
	ended    bool
	first    int64 // the second in which it began
	base     int64 // oldest open second
	point    Point
}

// New returns a Recorder. Live, its first second is that of the first Advance.
func New(c Config) (*Recorder, error) {
	if c.Delay == 0 {
		c.Delay = DefaultDelay
	}
	if c.Delay < 0 || c.Delay > MaxDelay {
		return nil, fmt.Errorf("series: delay of %v: want more than 0, at most %v", c.Delay, MaxDelay)
	}
	k, err := newClasses(&c)
	if err != nil {
		return nil, err
	}
	return &Recorder{config: c, classes: k, delay: int64((c.Delay + time.Second - 1) / time.Second)}, nil
}

// Names are the names of the series, in the order of Point.Series.
func (r *Recorder) Names() []string { return slices.Clone(r.classes.names) }

// NewCounter returns a Counter for one more queue. Counters are made before the first packet.
func (r *Recorder) NewCounter(s Sources) *Counter {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Counter{recorder: r, classes: r.classes, sources: s, base: r.base, newest: r.base}
	for _, f := range r.classes.filters {
		c.matched = append(c.matched, f.NewClasses())
	}
	for i := range c.open {
		c.open[i].series = make([]Count, len(r.classes.names))
	}
	if s.Flows != nil {
		_, c.opened = s.Flows()
	}
	if s.Lost != nil {
		c.lost = s.Lost()
	}
	r.counters = append(r.counters, c)
	return c
}

// Advance closes the seconds that ended by more than Config.Delay before now. It is called
// at least once a second, and once before the first packet.
func (r *Recorder) Advance(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := now.Unix()
	if !r.begun {
		r.begin(at)
	}
	for _, c := range r.counters {
		c.mu.Lock()
		if at > c.newest && at < c.base+window {
			c.sample(at)
		}
		c.mu.Unlock()
	}
	r.closeBefore(at-r.delay, window)
}

// stamped opens the second of a packet that is beyond the window.
func (r *Recorder) stamped(at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun {
		r.begin(at)
		return
	}
	r.closeBefore(at-r.delay, longestPause)
}

func (r *Recorder) begin(at int64) {
	r.begun, r.first = true, at
	r.open(at)
}

// open makes a second the oldest open one.
func (r *Recorder) open(at int64) {
	r.base = at
	for _, c := range r.counters {
		c.mu.Lock()
		c.base, c.newest = at, max(at, c.newest)
		c.mu.Unlock()
	}
}

// closeBefore closes all seconds before one. Of a pause of more than most seconds those
// are missing that were not open.
func (r *Recorder) closeBefore(at, most int64) {
	if at <= r.base {
		return
	}
	until := min(at, r.base+most)
	if at-r.base > most {
		until = min(at, r.base+window)
	}
	for s := r.base; s < until; s++ {
		r.closeSecond(s)
	}
	if until < at {
		r.open(at)
	}
}

// closeSecond passes on the oldest second.
func (r *Recorder) closeSecond(at int64) {
	p := &r.point
	p.reset(at, 1, len(r.classes.names))
	p.Seconds = 1
	if at == r.first || r.ended {
		p.Partial = 1
	}
	for _, c := range r.counters {
		c.mu.Lock()
		c.take(at, p)
		c.mu.Unlock()
	}
	r.base = at + 1
	for i := range p.Series {
		p.Series[i].Peak = p.Series[i].Count
	}
	p.PeakActive = p.Active
	if r.config.OnPoint != nil {
		r.config.OnPoint(p)
	}
}

// take adds the oldest second of a Counter to a point, and closes it.
func (c *Counter) take(at int64, p *Point) {
	s := &c.open[at&(window-1)]
	if !s.sampled {
		s.sample(&c.sources)
	}
	for i, n := range s.series {
		p.Series[i].add(n)
	}
	clear(s.series)
	p.Active += s.active
	p.New += s.opened - c.opened
	p.Lost += s.lost - c.lost
	c.opened, c.lost, s.sampled = s.opened, s.lost, false
	p.Late.add(c.late)
	p.Early.add(c.early)
	c.late, c.early = Count{}, Count{}
	c.base, c.newest = at+1, max(at+1, c.newest)
}

// Close closes all open seconds up to now, or up to the latest stamp with Config.ByStamps.
// It is called once, after the last packet.
func (r *Recorder) Close(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.begun {
		return
	}
	last := r.base
	if !r.config.ByStamps {
		last = max(last, min(now.Unix(), r.base+window-1))
	}
	for _, c := range r.counters {
		c.mu.Lock()
		last = max(last, min(c.newest, r.base+window-1))
		c.mu.Unlock()
	}
	r.closeBefore(last, longestPause)
	r.ended = true
	r.closeSecond(last)
}

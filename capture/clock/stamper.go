package clock

// Line computes stamps within the current second. A hot loop may stamp from that of a
// Stamper until Stamp returns false.
type Line struct {
	Tick uint64 // origin
	Rate uint64 // ns per tick, times 2^40
	Base uint64 // ns from the start of the second to the origin, modulo 2^64
	Last uint64 // latest stamp, ns from the start of the second
	Sec  uint64 // the current second
}

// Stamp returns the stamp of a counter reading. It returns false if that lies before
// the last stamp or in another second; Stamper.Stamp handles both.
func (l *Line) Stamp(tick uint64) (_ Stamp, ok bool) {
	now := l.Base + scale(tick-l.Tick, l.Rate)
	if now < l.Last || now >= second {
		return 0, false
	}
	l.Last = now
	return Stamp(l.Sec | now<<32), true
}

// Stamper stamps the frames of one queue; its stamps never go backwards. It is
// used by one goroutine at a time.
type Stamper struct {
	line   Line
	direct bool // no counter: every stamp calls the kernel
	from   *line
	clock  *Clock
	policy Policy

	// The batch before.
	polled uint64 // ticks; 0: there was none
	lag    int64  // ns by which its last stamp lies before polled
	span   uint64 // ns by which its first stamp lies before polled
	load   load
}

// Stamper returns a new stamper for one queue.
func (c *Clock) Stamper(p Policy) (*Stamper, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &Stamper{clock: c, policy: p}
	s.Update()
	return s, nil
}

// Policy returns the stamper's policy.
func (s *Stamper) Policy() Policy { return s.policy }

// Ticks reads the counter that stamps are computed from.
func (s *Stamper) Ticks() uint64 {
	if s.direct {
		return s.clock.source.ticks()
	}
	return Ticks()
}

// Update loads the line that the clock published last. A poller calls it once a batch.
func (s *Stamper) Update() {
	l := s.clock.line.Load() // A1, pairs with R1 in fit
	if l.then != nil && l.turned(s.clock.source.ticks()) {
		l = l.then
	}
	if l != s.from {
		s.follow(l)
	}
}

func (s *Stamper) follow(l *line) {
	s.from, s.direct = l, l.direct
	s.line.Tick, s.line.Rate, s.line.Base = l.tick, l.rate, l.ns-s.line.Sec*second
}

const second = 1_000_000_000

// Line returns the line to stamp from until the next Update, nil if there is no counter.
func (s *Stamper) Line() *Line {
	if s.direct {
		return nil
	}
	return &s.line
}

// Stamp returns the stamp of the current time.
func (s *Stamper) Stamp() Stamp { return s.At(s.Ticks()) }

// At returns the stamp of a counter reading, or the last stamp if that is later. It
// divides only once a second.
func (s *Stamper) At(tick uint64) Stamp {
	if stamp, ok := s.line.Stamp(tick); ok {
		return stamp
	}
	// Before the last stamp, which is returned then, or in another second.
	l := &s.line
	now := l.Base + scale(tick-l.Tick, l.Rate)
	if int64(now-l.Last) < 0 {
		now = l.Last
	}
	l.Sec += now / second
	l.Base -= now / second * second
	l.Last = now % second
	return Stamp(l.Sec | l.Last<<32)
}

// Stamp is a time: seconds since 1970 in the lower half, nanoseconds in the upper
// half, like the first 8 bytes of a RAW record.
type Stamp uint64

// Sec is the stamp's seconds since 1970.
func (s Stamp) Sec() uint32 { return uint32(s) }

// Nsec is the stamp's nanoseconds, below 1e9.
func (s Stamp) Nsec() uint32 { return uint32(s >> 32) }

// UnixNano is the stamp in nanoseconds since 1970.
func (s Stamp) UnixNano() uint64 { return uint64(s.Sec())*second + uint64(s.Nsec()) }

// Nanoseconds converts ticks of the counter to nanoseconds.
func (s *Stamper) Nanoseconds(ticks uint64) uint64 { return scale(ticks, s.line.Rate) }

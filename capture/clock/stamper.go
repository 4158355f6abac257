package clock

// Line is what a stamp is computed from, in terms of the current second. A hot
// loop may take a copy (Stamper.Line), stamp from it until it says no, and put
// it back (SetLast).
type Line struct {
	Tick uint64 // origin
	Rate uint64 // ns per tick, times 2^40
	Base uint64 // ns from the start of the second to the origin, modulo 2^64
	Last uint64 // latest stamp, ns from the start of the second
	Sec  uint64 // the current second
}

// Stamp is the stamp of a reading of the counter. Not ok: that lies before the
// last stamp or in another second; ask Stamper.Stamp.
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
	direct bool // there is no counter, every stamp asks the kernel
	from   *line
	clock  *Clock
	policy Policy

	// The batch before.
	polled uint64 // ticks; 0: there was none
	lag    int64  // ns by which its last stamp lies before polled
	load   load
}

// Stamper makes a stamper for one queue.
func (c *Clock) Stamper(p Policy) (*Stamper, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &Stamper{clock: c, policy: p}
	s.Update()
	return s, nil
}

// Policy is how frames are stamped.
func (s *Stamper) Policy() Policy { return s.policy }

// Ticks reads the counter that stamps are made from.
func (s *Stamper) Ticks() uint64 {
	if s.direct {
		return s.clock.source.ticks()
	}
	return Ticks()
}

// Update takes over the line that the clock published last; once a batch.
func (s *Stamper) Update() {
	l := s.clock.line.Load()
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

// Line is the line to stamp from; not ok where Ticks is not what it wants.
func (s *Stamper) Line() (_ Line, ok bool) { return s.line, !s.direct }

// SetLast takes over the last stamp made from a copy of the line.
func (s *Stamper) SetLast(l Line) { s.line.Last = l.Last }

// Stamp is the time now.
func (s *Stamper) Stamp() Stamp { return s.At(s.Ticks()) }

// At is the stamp of a reading of the counter, or the last stamp when that is
// later. It divides nothing, but once a second.
func (s *Stamper) At(tick uint64) Stamp {
	if stamp, ok := s.line.Stamp(tick); ok {
		return stamp
	}
	// Before the last stamp, which holds then, or in another second.
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

// Stamp is a time: seconds since 1970 in the lower half, nanoseconds in the
// upper, as a RAW record begins.
type Stamp uint64

// Sec is the stamp's seconds since 1970.
func (s Stamp) Sec() uint32 { return uint32(s) }

// Nsec is the stamp's nanoseconds, below 1e9.
func (s Stamp) Nsec() uint32 { return uint32(s >> 32) }

// UnixNano is the stamp in nanoseconds since 1970.
func (s Stamp) UnixNano() uint64 { return uint64(s.Sec())*second + uint64(s.Nsec()) }

// Nanoseconds is how long that many ticks of the counter are.
func (s *Stamper) Nanoseconds(ticks uint64) uint64 { return scale(ticks, s.line.Rate) }

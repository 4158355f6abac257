package series

// Count counts packets and their bytes on the wire, without CRC.
type Count struct{ Packets, Bytes uint64 }

// Sum is a series in a span of time.
type Sum struct {
	Count
	Peak Count // largest packets and bytes of a second, not always the same second
}

// Point is what all series have in a span: one second, or a minute, hour or day of them.
type Point struct {
	Time int64 // start, seconds since 1970, a multiple of Step
	Step int64 // seconds of the span

	// Seconds are those of the span that were recorded. Of the others nothing is known:
	// no packet was lost or absent, they are missing.
	Seconds uint32

	// Partial are recorded seconds that were not observed from their start to their end:
	// the first and the last of a Recorder.
	Partial uint32

	Series []Sum // All, IPv4, ..., as Names says

	Late  Count // packets of earlier seconds that had been closed; in no series
	Early Count // packets of seconds far after the clock; in no series
	Lost  uint64

	Active     uint64 // sum over the seconds of the flows open at their end: by Seconds it is the mean
	PeakActive uint64
	New        uint64 // flows
}

// Missing reports whether nothing is known of the span.
func (p *Point) Missing() bool { return p.Seconds == 0 }

// add adds another span to p.
func (p *Point) add(q *Point) {
	p.Seconds += q.Seconds
	p.Partial += q.Partial
	for i := range p.Series {
		s, t := &p.Series[i], &q.Series[i]
		s.add(t.Count)
		s.Peak.Packets = max(s.Peak.Packets, t.Peak.Packets)
		s.Peak.Bytes = max(s.Peak.Bytes, t.Peak.Bytes)
	}
	p.Late.add(q.Late)
	p.Early.add(q.Early)
	p.Lost += q.Lost
	p.Active += q.Active
	p.PeakActive = max(p.PeakActive, q.PeakActive)
	p.New += q.New
}

// reset makes p a missing span.
func (p *Point) reset(at, step int64, series int) {
	all := p.Series
	if cap(all) < series {
		all = make([]Sum, series)
	}
	all = all[:series]
	clear(all)
	*p = Point{Time: at, Step: step, Series: all}
}

func (c *Count) add(d Count) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
}

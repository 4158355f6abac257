package trace

import "github.com/ixcap/ixcap/transmit"

// Times says when frames are sent.
type Times struct {
	Recorded bool          // at the recorded distances; else at Rate
	Scale    float64       // that the recorded distances are divided by: 2 is twice as fast
	Rate     transmit.Rate // of the frames
	Loops    uint64        // rounds; 0: without end
}

// Player sends the frames of a Trace. It is a transmit.Source.
type Player struct {
	t     *Trace
	times Times
	i     int
	round uint64
	at    float64 // ps
	last  int64   // latest stamp of the round
	begun bool
}

// farAway is the latest time of a frame, in ps: a stamp can be any number.
const farAway = 1 << 62

// NewPlayer returns a Player.
func NewPlayer(t *Trace, times Times) *Player { return &Player{t: t, times: times, i: -1} }

// Next implements transmit.Source. A further round follows at the mean distance. A stamp
// before the latest one is a frame that was recorded out of order: it follows at once.
func (p *Player) Next() (n int, at int64, ok bool) {
	previous := p.i
	if p.i++; p.i == len(p.t.slots) {
		if p.round++; p.round == p.times.Loops {
			p.i--
			p.round--
			return 0, 0, false
		}
		p.i = 0
	}
	s := &p.t.slots[p.i]
	switch {
	case !p.begun:
		p.begun, p.last = true, s.stamp
	case !p.times.Recorded:
		p.at += p.times.Rate.Gap(p.t.slots[previous].len)
	case p.i == 0:
		p.at += p.t.mean() * 1000 / p.times.Scale
		p.last = s.stamp
	case s.stamp > p.last:
		p.at += float64(s.stamp-p.last) * 1000 / p.times.Scale
		p.last = s.stamp
	}
	return s.len, int64(min(p.at, farAway)), true
}

// mean is the mean distance of the frames in ns.
func (t *Trace) mean() float64 {
	if len(t.slots) < 2 {
		return 0
	}
	first, last := t.slots[0].stamp, t.slots[0].stamp
	for i := range t.slots {
		last = max(last, t.slots[i].stamp)
	}
	return float64(last-first) / float64(len(t.slots)-1)
}

// Write implements transmit.Source.
func (p *Player) Write(b []byte, _ int64) { copy(b, p.t.arena[p.t.slots[p.i].at:]) }

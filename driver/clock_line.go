package driver

import (
	"math"
	"time"
)

// comparison is one reading of the port's clock and CLOCK_REALTIME.
type comparison struct {
	clock int64 // ns
	host  int64 // ns since 1970, in the middle of the reading
	width int64 // of the reading in ns of the host
}

// hostLine converts times of the port's clock to CLOCK_REALTIME: it goes through the last
// comparison, at the rate since the oldest that still applies.
type hostLine struct {
	history [16]comparison // a ring, oldest at n
	n       int            // comparisons since the start, the last step or the last change of rate
	rate    float64        // ns of the host per ns of the clock
	doubt   float64        // of rate
	status  ClockStatus
}

const (
	// Between two comparisons CLOCK_REALTIME can deviate from the line by NTP's slew, from
	// 500 ppm slow to 500 ppm fast. If it deviates by more, it was set.
	clockSlew = 1000e-6

	// If the rate deviates by more than this, and by more than the width of the readings,
	// the comparisons before do not apply any more.
	clockRate = 1e-6

	// oscillator is the largest error of the port's oscillator, of which nothing is known
	// before the second comparison (IEEE 802.3, 52.5: 100 ppm).
	oscillator = 100e-6
)

// restart forgets the comparisons: the clock was set.
func (l *hostLine) restart() { l.n = 0 }

func (l *hostLine) last() comparison { return l.history[(l.n-1)%len(l.history)] }

// add adds a comparison, which is later than all others.
func (l *hostLine) add(c comparison) {
	s := &l.status
	s.Comparisons++
	s.Residual, s.Uncertainty = 0, time.Duration((c.width+1)/2)
	if l.n == 0 {
		if l.rate == 0 {
			l.rate = 1
		}
		l.doubt = oscillator
		l.history[0], l.n = c, 1
		return
	}
	last := l.last()
	passed := c.clock - last.clock
	residual := l.host(c.clock) - c.host
	doubt := float64(c.width+last.width) / 2
	switch recent := float64(c.host-last.host) / float64(max(passed, 1)); {
	case math.Abs(float64(residual)) > doubt+float64(passed)*clockSlew:
		s.Steps++
		l.n = 0
	case l.n > 1 && math.Abs(recent/l.rate-1) > clockRate+doubt/float64(max(passed, 1))+l.doubt:
		l.history[0], l.n = last, 1
	}
	l.history[l.n%len(l.history)] = c
	l.n++
	if l.n == 1 { // the rate is still that of the clock
		return
	}
	s.Residual = time.Duration(residual)
	s.MaxResidual = max(s.MaxResidual, s.Residual, -s.Residual)
	oldest := l.history[max(0, l.n-len(l.history))%len(l.history)]
	span := float64(max(c.clock-oldest.clock, 1))
	if d := float64(c.width+oldest.width) / 2 / span; d < l.doubt || d < oscillator {
		l.rate, l.doubt = float64(c.host-oldest.host)/span, d
	}
	s.Rate = (1/l.rate - 1) * 1e6
}

// host returns CLOCK_REALTIME at a time of the clock.
func (l *hostLine) host(clock int64) int64 {
	last := l.last()
	return last.host + int64(math.Round(float64(clock-last.clock)*l.rate))
}

// at returns CLOCK_REALTIME at a time of the clock, and how far it can be off, in ns.
func (l *hostLine) at(clock int64) (host, uncertainty int64) {
	last := l.last()
	away := math.Abs(float64(clock - last.clock))
	return l.host(clock), last.width/2 + 1 + int64(math.Ceil(away*l.doubt))
}

package driver_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
)

// world is a port's clock and a host's clock that are both wrong, by a true time in ns.
type world struct {
	now         int64
	clock, host float64 // at now
	clockRate   float64
	hostRate    float64
	r           *rand.Rand
}

func (w *world) pass(d time.Duration) {
	w.now += int64(d)
	w.clock += float64(d) * w.clockRate
	w.host += float64(d) * w.hostRate
}

// compare reads the port's clock somewhere between two readings of the host's.
func (w *world) compare() driver.Comparison {
	before := w.host
	a, b := time.Duration(w.r.IntN(1500)), time.Duration(w.r.IntN(1500))
	w.pass(a)
	clock := w.clock
	w.pass(b)
	return driver.Comparison{Clock: int64(clock), Host: int64(before) + (int64(w.host)-int64(before))/2, Width: int64(w.host) - int64(before)}
}

// For an hour with an oscillator that is off and drifts, and a host's clock that NTP slews
// and sets, the line stays within its uncertainty of the host's clock, as long as the
// host's clock keeps its rate.
func TestClockIsConvertedWithinItsUncertainty(t *testing.T) {
	w := &world{host: 1e12, clockRate: 1 + 63e-6, hostRate: 1, r: rand.New(rand.NewPCG(1, 2))}
	l := driver.NewHostLine()
	l.Add(w.compare())
	var worst int64
	steps := uint64(0)
	for second := range 3600 {
		switch second {
		case 600:
			w.hostRate = 1 + 400e-6 // NTP slews
		case 900:
			w.hostRate = 1 - 500e-6
		case 1200:
			w.hostRate = 1
		case 1800:
			w.host += 5e9 // the clock is set
			steps++
		case 2400:
			w.host -= 2e6
			steps++
		}
		w.clockRate += 1e-10 // warms up
		changed := map[int]bool{600: true, 900: true, 1200: true, 1800: true, 2400: true}[second]
		// A frame is stamped at any time before the next comparison.
		w.pass(time.Duration(w.r.Int64N(int64(time.Second))))
		host, uncertainty := l.At(int64(w.clock))
		if !changed && second > 1 {
			require.InDelta(t, w.host, host, float64(uncertainty), "second %d", second)
			if second > 3000 {
				worst = max(worst, uncertainty)
			}
		}
		w.pass(time.Duration(w.r.Int64N(int64(time.Second / 8))))
		l.Add(w.compare())
	}
	s := l.Status()
	require.Equal(t, steps, s.Steps)
	require.InDelta(t, 63+0.36, s.Rate, 0.5)
	require.Less(t, worst, int64(2000))
	require.EqualValues(t, 3601, s.Comparisons)
}

// Before a second comparison only the tolerance of the oscillator is known.
func TestClockIsUncertainAfterOneComparison(t *testing.T) {
	l := driver.NewHostLine()
	l.Add(driver.Comparison{Clock: 1000, Host: 5000, Width: 100})
	host, uncertainty := l.At(1000 + 1_000_000_000)
	require.EqualValues(t, 5000+1_000_000_000, host)
	require.EqualValues(t, 100_051, uncertainty)
}

package clock

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// day simulates one day of a machine: its counter, the changes of its clock, and a
// stamper in use all the time.
type day struct {
	*bench
	t     *testing.T
	clock *Clock
	stamp *Stamper
	r     *rand.Rand

	last    int64
	fits    int
	settled int // fits until stamps are compared with the kernel's clock again
	worst   float64
	slowest float64 // smallest ratio of stamped to true time
}

func newDay(t *testing.T, hz float64) *day {
	d := &day{bench: newBench(hz), t: t, r: rand.New(rand.NewPCG(7, uint64(hz))), slowest: 1}
	d.clock = d.bench.clock(t)
	// No lock: all that follows is in one goroutine, and a day is long.
	d.clock.source = source{"bench",
		func() uint64 { d.advance(d.cost); return uint64(d.tick) },
		func() int64 { d.advance(d.cost); return epoch + int64(d.wall) },
	}
	var err error
	d.stamp, err = d.clock.Stamper(PerPacket)
	require.NoError(t, err)
	return d
}

const stampsPerFit = 6

// walk advances time, makes stamps, and fits at the end.
func (d *day) walk(long time.Duration) {
	before, from := d.last, d.wall
	for range stampsPerFit {
		d.advance(float64(long) / stampsPerFit)
		d.stamp.Update()
		now := nanos(d.stamp.At(uint64(d.tick)))
		if now < d.last {
			d.t.Fatalf("stamp %d after %d, %v into the day", now, d.last, time.Duration(d.wall))
		}
		d.last = now
		if d.settled <= 0 {
			d.worst = max(d.worst, math.Abs(float64(now-epoch)-d.wall))
		}
	}
	if before != 0 {
		d.slowest = min(d.slowest, float64(d.last-before)/(d.wall-from))
	}
	d.clock.fit(lastFit)
	d.fits++
	d.settled--
}

// disturb suspends the comparison of stamps for a number of fits.
func (d *day) disturb(fits int) { d.settled = max(d.settled, fits) }

// All kinds of changes to the clock happen during one day. Stamps never go back. Two
// seconds after the last change, or after a step back is corrected, they agree with
// the kernel's clock again.
func TestStampsThroughADayOfClockSteps(t *testing.T) {
	const settle = 4 // fits, 2 s
	for _, hz := range []float64{25e6, 2.6e9} {
		t.Run(fmt.Sprintf("%g Hz", hz), func(t *testing.T) {
			t.Parallel()
			d := newDay(t, hz)
			d.disturb(settle)
			var steps uint64
			set := func(ns float64) { d.bench.set(ns); steps++ }
			for second := 0; second < 86400; second++ {
				// The oscillator warms and cools by 1 ppm over the day, at most 0.07 ppb a second.
				d.hz = hz * (1 + 1e-6*math.Sin(2*math.Pi*float64(second)/86400))
				switch hour, at := second/3600, second%3600; {
				case at%600 == 0 && hour < 8: // NTP slews in either direction, at most 500 ppm
					d.ppm = 1000*d.r.Float64() - 500
					if at == 0 {
						d.ppm = math.Copysign(500, -d.ppm)
					}
					d.disturb(settle)
				case hour == 9 && at%300 == 0: // steps ahead, 2 ms to 100 s
					set(2e6 * math.Pow(10, float64(at/300)*0.4))
					d.disturb(settle)
				case hour == 10 && at%300 == 0: // steps back, 2 ms to 5 s, corrected at half speed
					ns := 2e6 * math.Pow(10, float64(at/300)*0.3)
					set(-ns)
					d.disturb(settle + int(2*ns/float64(lastFit)) + 1)
				case hour == 11 && at == 600: // a leap second: 23:59:59 twice
					set(-1e9)
					d.disturb(settle + 5)
				case hour == 12 && at == 0: // an hour ahead, ...
					set(3600e9)
					d.disturb(settle)
				case hour == 13 && at == 0: // ... and back: two hours until it is corrected
					set(-3600e9)
					d.disturb(2*7200 + settle)
				case hour >= 17 && hour < 20 && at%900 == 0: // fits are up to a minute late
					d.walk(time.Duration(d.r.Int64N(int64(time.Minute))))
				case hour == 20 && at%900 == 0: // late fits, and the clock is set in between
					set((2*d.r.Float64() - 1) * 1e9)
					d.disturb(settle)
					d.walk(time.Duration(d.r.Int64N(int64(time.Minute))))
					d.disturb(settle + 5)
				case hour == 21 && at == 0: // suspended for ten minutes, including the counter
					set(600e9)
					d.disturb(settle)
				case hour == 22 && at%60 == 0: // a busy machine: a reading takes long
					d.cost = 20 + 3000*d.r.Float64()
					d.disturb(1 << 20) // not compared
				case hour == 23 && at == 0:
					d.cost, d.settled = 20, settle
				}
				d.walk(lastFit)
				d.walk(lastFit)
				nominal := hz / (1 + d.ppm/1e6)
				allowed := 0.003
				if d.settled <= 0 {
					allowed = 3e-6
				}
				if got := d.clock.Status().Hertz; math.Abs(got/nominal-1) > allowed {
					t.Fatalf("second %d: rate of %g Hz, want %g", second, got, nominal)
				}
			}
			st := d.clock.Status()
			t.Logf("%d fits, worst stamp %.0f ns off once settled, slowest %.3f of true time, %+v", d.fits, d.worst, d.slowest, st)
			require.LessOrEqual(t, d.worst, 500+50e9/hz, "worst error once settled; fits may be a minute apart, so the counter's resolution counts")
			require.LessOrEqual(t, abs(st.Worst), int64(600_000), "a slew costs this much at most")
			require.Greater(t, d.slowest, 0.49, "stamps always advance")
			require.Equal(t, steps, st.Steps)
		})
	}
}

// A late fit does not find the line far off: the correction before it has ended in
// time.
func TestLateFitFindsTheLineInPlace(t *testing.T) {
	const sampling = tries * 3 * 20 // ns of the fit since the last stamp
	for name, off := range map[string]float64{
		"400 us ahead": 400e3, "400 us behind": -400e3, "3 s ahead": 3e9, "100 ms ahead": 1e8,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDay(t, 2.6e9)
			for range 20 {
				d.walk(lastFit)
			}
			d.bench.set(-off)
			d.walk(lastFit) // finds it, and corrects it
			for range 10 {
				d.walk(10 * time.Second)
				off := float64(d.last-epoch) - d.wall + sampling
				require.InDelta(t, 0, off, 300)
			}
		})
	}
}

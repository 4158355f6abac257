package clock

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// day is a simulated day of one machine: its counter, what happens to its clock,
// and a stamper that works all the time.
type day struct {
	*bench
	t     *testing.T
	clock *Clock
	stamp *Stamper
	r     *rand.Rand

	last    int64
	fits    int
	settled int // fits until stamps may be held against the kernel's clock again
	worst   float64
	slowest float64 // ratio of stamped to true time, smallest
}

func newDay(t *testing.T, hz float64) *day {
	d := &day{bench: newBench(hz), t: t, r: rand.New(rand.NewPCG(7, uint64(hz))), slowest: 1}
	d.clock = d.bench.clock(t)
	// One goroutine does everything from here on, and a day is long: no lock.
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

// walk lets time pass, stamps on the way, and fits at its end.
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

// disturb: stamps may be off until so many more fits have been made.
func (d *day) disturb(fits int) { d.settled = max(d.settled, fits) }

// A day in which everything happens to the clock that can. Stamps never go back;
// two seconds after the last disturbance they agree with the kernel's clock again,
// or once the time is made up that it was set back by.
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
				case at%600 == 0 && hour < 8: // NTP slews, now this way, now that, at most 500 ppm
					d.ppm = 1000*d.r.Float64() - 500
					if at == 0 {
						d.ppm = math.Copysign(500, -d.ppm)
					}
					d.disturb(settle)
				case hour == 9 && at%300 == 0: // steps ahead, 2 ms to 100 s
					set(2e6 * math.Pow(10, float64(at/300)*0.4))
					d.disturb(settle)
				case hour == 10 && at%300 == 0: // steps back, 2 ms to 5 s: made up at half speed
					ns := 2e6 * math.Pow(10, float64(at/300)*0.3)
					set(-ns)
					d.disturb(settle + int(2*ns/float64(lastFit)) + 1)
				case hour == 11 && at == 600: // a leap second: 23:59:59 twice
					set(-1e9)
					d.disturb(settle + 5)
				case hour == 12 && at == 0: // somebody sets the hour, ...
					set(3600e9)
					d.disturb(settle)
				case hour == 13 && at == 0: // ... and back: two hours until that is made up
					set(-3600e9)
					d.disturb(2*7200 + settle)
				case hour >= 17 && hour < 20 && at%900 == 0: // the goroutine gets no processor for up to a minute
					d.walk(time.Duration(d.r.Int64N(int64(time.Minute))))
				case hour == 20 && at%900 == 0: // that, and the clock is set meanwhile
					set((2*d.r.Float64() - 1) * 1e9)
					d.disturb(settle)
					d.walk(time.Duration(d.r.Int64N(int64(time.Minute))))
					d.disturb(settle + 5)
				case hour == 21 && at == 0: // suspended for ten minutes, the counter too
					set(600e9)
					d.disturb(settle)
				case hour == 22 && at%60 == 0: // a busy machine: reading the clock takes long
					d.cost = 20 + 3000*d.r.Float64()
					d.disturb(1 << 20) // what is measured then is as good as it can be
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
			require.LessOrEqual(t, d.worst, 500+50e9/hz, "once settled; the counter's resolution counts where fits are a minute apart")
			require.LessOrEqual(t, abs(st.Worst), int64(600_000), "what slews cost at most; steps are counted")
			require.Greater(t, d.slowest, 0.49, "stamps never stand still")
			require.Equal(t, steps, st.Steps)
		})
	}
}

// A fit that comes late must not find the line far off because the correction
// before it went on for too long.
func TestLateFitFindsTheLineWhereItShouldBe(t *testing.T) {
	const sampling = tries * 3 * 20 // ns that the fit has taken since the last stamp
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

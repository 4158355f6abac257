package clock

import (
	"math"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bench is a counter and a kernel clock that the test advances.
type bench struct {
	mu   sync.Mutex
	tick float64
	wall float64 // since epoch
	hz   float64
	ppm  float64 // slew of the kernel's clock
	cost float64 // of one reading in ns
}

func newBench(hz float64) *bench {
	return &bench{tick: 1e10, hz: hz, cost: 20}
}

// pass advances true time by ns.
func (b *bench) pass(ns float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(ns)
}

func (b *bench) advance(ns float64) {
	b.tick += ns * b.hz / 1e9
	b.wall += ns * (1 + b.ppm/1e6)
}

// set sets the kernel's clock ahead by ns.
func (b *bench) set(ns float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wall += ns
}

func (b *bench) source() source {
	return source{"bench",
		func() uint64 { b.mu.Lock(); defer b.mu.Unlock(); b.advance(b.cost); return uint64(b.tick) },
		func() int64 { b.mu.Lock(); defer b.mu.Unlock(); b.advance(b.cost); return epoch + int64(b.wall) },
	}
}

// clock starts a clock on the bench; the test calls fit.
func (b *bench) clock(t *testing.T) *Clock {
	first := true
	c := start(b.source(), func(d time.Duration) <-chan time.Time {
		ch := make(chan time.Time, 1)
		if first { // start waits for the first
			first = false
			b.pass(float64(d))
			ch <- time.Time{}
		}
		return ch
	})
	t.Cleanup(c.Close)
	return c
}

// epoch is the start of the bench's kernel clock in ns, kept apart because a float64
// cannot hold it exactly.
const epoch = 1_700_000_000_000_000_000

func nanos(s Stamp) int64 { return int64(s.Sec())*1e9 + int64(s.Nsec()) }

func TestStampsFollowTheKernelsClock(t *testing.T) {
	for _, hz := range []float64{25e6, 1e9, 2.6e9, 5.1e9} {
		b := newBench(hz)
		c := b.clock(t)
		s, err := c.Stamper(PerPacket)
		require.NoError(t, err)
		r := rand.New(rand.NewPCG(1, 2))
		tick := 1e9 / hz
		for i := range 200 {
			if i == 100 {
				b.ppm = 300 // NTP begins to slew
			}
			b.pass(float64(lastFit) * (0.9 + 0.2*r.Float64()))
			c.fit(lastFit)
			s.Update()
			b.pass(float64(lastFit) / 2)
			got := nanos(s.At(uint64(b.tick)))
			if i > 3 && (i < 100 || i > 120) {
				require.InDelta(t, b.wall, got-epoch, 300+2*tick, "fit %d at %g Hz", i, hz)
			}
		}
		st := c.Status()
		require.InEpsilon(t, hz/1.0003, st.Hertz, 1e-6)
		require.Zero(t, st.Steps)
		require.EqualValues(t, 201, st.Fits)
		require.LessOrEqual(t, math.Abs(float64(st.Residual)), 300+2*tick)
		require.Positive(t, st.Uncertainty)
	}
}

func TestStampsNeverGoBackWhateverTheClockDoes(t *testing.T) {
	for name, step := range map[string]float64{
		"second back": -1e9, "hour back": -3600e9, "millisecond back": -1e6, "microsecond back": -1e3,
		"second ahead": 1e9, "year ahead": 365 * 86400e9,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(2.6e9)
			c := b.clock(t)
			s, err := c.Stamper(PerPacket)
			require.NoError(t, err)
			last, same := int64(0), 0
			walk := func() {
				for range 50 {
					b.pass(float64(lastFit) / 50)
					s.Update()
					now := nanos(s.At(uint64(b.tick)))
					require.GreaterOrEqual(t, now, last)
					if now == last {
						same++
					}
					last = now
				}
				c.fit(lastFit)
			}
			for range 10 {
				walk()
			}
			b.set(step)
			for range 20 {
				walk()
			}
			require.Zero(t, same, "stamps stay distinct")
			if step != -3600e9 { // which takes two hours to correct
				require.InDelta(t, b.wall, last-epoch, 2e7)
			}
			if math.Abs(step) >= 1e9 {
				require.EqualValues(t, 1, c.Status().Steps)
			}
		})
	}
}

// A new line may lie below the last stamp. The stamper repeats the last stamp until
// the line has reached it.
func TestStamperHoldsItsLastStamp(t *testing.T) {
	c := newBench(1e9).clock(t)
	s, err := c.Stamper(PerPacket)
	require.NoError(t, err)
	l := *c.line.Load()
	first := nanos(s.At(l.tick + 5e9))
	for _, back := range []uint64{1, 1000, 2e9} {
		moved := l
		moved.ns -= back
		c.line.Store(&moved)
		s.Update()
		require.Equal(t, first, nanos(s.At(l.tick+5e9)))
	}
	require.Greater(t, nanos(s.At(l.tick+8e9)), first)
}

func TestScaleIsExactForAYearOfTicks(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, hz := range []float64{24e6, 1e9, 2.6e9, 6e9} {
		rate := uint64(1e9 / hz * (1 << shift))
		year := uint64(366 * 86400 * hz)
		for range 1000 {
			ticks := r.Uint64N(year)
			want := new(big.Int).Mul(new(big.Int).SetUint64(ticks), new(big.Int).SetUint64(rate))
			want.Rsh(want, shift)
			require.Equal(t, want.Uint64(), scale(ticks, rate))
		}
		require.InEpsilon(t, 366*86400*1e9, scale(year, rate), 1e-10*hz)
	}
}

func TestStamperRunsAYearWithoutAFit(t *testing.T) {
	const hz = 2.6e9
	b := newBench(hz)
	b.cost = 0
	c := b.clock(t)
	s, err := c.Stamper(PerPacket)
	require.NoError(t, err)
	s.follow(&line{tick: 1000, ns: 1_700_000_000_999_999_000, rate: uint64(math.Round(1e9 / hz * (1 << shift)))})
	for day := range uint64(366) {
		ns := float64(day) * 86400e9
		got := nanos(s.At(1000 + uint64(ns/1e9*hz)))
		require.InDelta(t, ns, got-1_700_000_000_999_999_000, 1e8)
		require.Less(t, s.At(1000+uint64(ns/1e9*hz)).Nsec(), uint32(1e9))
	}
}

// The machine may be busy, so the bound is for the best of many stamps, each taken
// between two readings of the kernel's clock.
func TestRealClockAgreesWithTheKernel(t *testing.T) {
	c := New()
	defer c.Close()
	s, err := c.Stamper(PerPacket)
	require.NoError(t, err)
	for range 20 { // wait for some fits
		if c.Status().Fits > 3 || c.Status().Source == "clock_gettime" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	best, last := int64(math.MaxInt64), int64(0)
	for range 1000 {
		s.Update()
		before := time.Now().UnixNano()
		now := nanos(s.Stamp())
		after := time.Now().UnixNano()
		require.GreaterOrEqual(t, now, last)
		last = now
		best = min(best, max(before-now, now-after, 0))
	}
	require.Less(t, best, int64(time.Millisecond), "%+v", c.Status())
	t.Logf("%+v, best within %d ns", c.Status(), best)
}

func TestClockWithoutACounterCallsTheKernel(t *testing.T) {
	b := newBench(1e9)
	c := direct(b.source().wall)
	defer c.Close()
	s, err := c.Stamper(PerPacket)
	require.NoError(t, err)
	b.pass(1e10)
	require.InDelta(t, b.wall, nanos(s.Stamp())-epoch, 1000)
	require.Equal(t, "clock_gettime", c.Status().Source)
	require.EqualValues(t, 77, s.Nanoseconds(77))
}

func TestUnknownPolicyIsRefused(t *testing.T) {
	c := New()
	defer c.Close()
	_, err := c.Stamper(Policy(7))
	require.ErrorContains(t, err, "policy 7")
	require.Equal(t, "packet", PerPacket.String())
	c.Close()
}

func TestStampDoesNotAllocate(t *testing.T) {
	c := New()
	defer c.Close()
	s, err := c.Stamper(PerPacket)
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(1000, func() { s.Update(); s.Stamp() }))
}

func BenchmarkStamp(b *testing.B) {
	c := New()
	defer c.Close()
	s, err := c.Stamper(PerPacket)
	require.NoError(b, err)
	for b.Loop() {
		s.Stamp()
	}
}

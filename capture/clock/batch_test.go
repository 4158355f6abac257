package clock

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

func ofLengths(lengths ...uint32) (frames []ring.Frame) {
	for _, n := range lengths {
		frames = append(frames, ring.Frame{Len: n})
	}
	return frames
}

// stampsOf returns a batch's stamps in ns.
func stampsOf(s *Stamper, frames []ring.Frame, w Window) (all []uint64) {
	stamps := make([]Stamp, len(frames))
	s.Update()
	s.Batch(frames, w, stamps)
	for _, st := range stamps {
		all = append(all, st.UnixNano())
	}
	return all
}

func TestStampsOfABatchFollowThePolicy(t *testing.T) {
	const at = origin
	// One frame at the end of a first window; the frames of the second batch take
	// 84, 88 and 164 bytes of the wire, 336 together: 269 ns.
	frames := ofLengths(60, 64, 140)
	for policy, c := range map[Policy]struct {
		window Window
		want   []uint64
	}{
		Batch:     {Window{Polled: at + 3000}, []uint64{at + 3000, at + 3000, at + 3000}},
		Uniform:   {Window{Emptied: at + 2900, Polled: at + 3000}, []uint64{at + 1000, at + 2000, at + 3000}},
		Weighted:  {Window{Emptied: at + 2900, Polled: at + 3360}, []uint64{at + 840, at + 1720, at + 3360}},
		Sample(4): {Window{Emptied: at + 3024, Polled: at + 3360}, []uint64{at + 3108, at + 3196, at + 3360}},
		// Back to back before the poll: there is no slack after Emptied.
		Adaptive: {Window{Emptied: at + 2900, Polled: at + 3000}, []uint64{at + 2799, at + 2869, at + 3000}},
	} {
		s := stamper(t, policy)
		require.Equal(t, policy, s.Policy())
		first := stampsOf(s, ofLengths(60), Window{Emptied: at - 30, Polled: at})
		if policy == Adaptive {
			require.InDelta(t, at, first[0], 30)
		} else {
			require.Equal(t, []uint64{at}, first)
		}
		got := stampsOf(s, frames, c.window)
		for i := range c.want {
			require.InDelta(t, c.want[i], got[i], 1, "%v frame %d: %v", policy, i, got)
		}
	}
}

// Equations 4.3 and 4.4 hold for random batches, also across seconds.
func TestUniformAndWeightedStampsFollowTheThesis(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, policy := range []Policy{Uniform, Weighted} {
		s := stamper(t, policy)
		now := uint64(origin)
		stampsOf(s, ofLengths(60), Window{Polled: now})
		for range 3000 {
			frames := ofLengths()
			whole := 0.0
			weight := func(f ring.Frame) float64 {
				if policy == Uniform {
					return 1
				}
				return float64(max(f.Len, 60) + 24)
			}
			for range 1 + r.IntN(64) {
				frames = append(frames, ring.Frame{Len: r.Uint32N(16000)})
				whole += weight(frames[len(frames)-1])
			}
			span := r.Uint64N(1 << r.IntN(36)) // up to a minute
			before := now
			now += span
			part := 0.0
			for i, got := range stampsOf(s, frames, Window{Polled: now, Full: r.IntN(2) == 0}) {
				part += weight(frames[i])
				require.InDelta(t, float64(span)*part/whole, float64(got-before), 1.5, "frame %d of %d, %d ns", i, len(frames), span)
			}
		}
	}
}

// For all windows and all changes of the line, stamps never go back, and do not exceed
// Polled unless the clock is set back.
func TestBatchStampsNeverGoBack(t *testing.T) {
	for _, policy := range []Policy{Batch, Uniform, Weighted, Adaptive, Sample(3)} {
		t.Run(policy.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(9, uint64(policy)))
			s := stamper(t, policy)
			l := *s.from
			tick, emptied, last := uint64(origin), uint64(0), uint64(0)
			back := uint64(0) // the largest step back so far
			batches := 20_000
			if raceEnabled {
				batches = 5_000
			}
			for i := range batches {
				frames := ofLengths()
				for range 1 + r.IntN(64) {
					frames = append(frames, ring.Frame{Len: r.Uint32N(1 << r.IntN(15))})
				}
				tick += r.Uint64N(1 << r.IntN(32))
				if r.IntN(100) == 0 { // a new line
					next := l
					switch r.IntN(3) {
					case 0: // slewed
						next.rate = uint64(float64(uint64(1)<<shift) * (1 + 500e-6*(2*r.Float64()-1)))
						next.tick, next.ns = tick-1e9, l.at(tick)-scale(1e9, next.rate)
					case 1: // ahead
						next.ns += r.Uint64N(1 << r.IntN(45))
					case 2: // back
						by := r.Uint64N(1 << r.IntN(33))
						next.ns -= by
						back = max(back, by) + 1
					}
					l = next
					s.clock.line.Store(&next)
				}
				w := Window{Emptied: emptied, Polled: tick, Full: r.IntN(4) == 0}
				for j, now := range stampsOf(s, frames, w) {
					if now < last {
						require.Fail(t, "back", "batch %d frame %d: %d after %d, %+v", i, j, now, last, w)
					}
					if limit := l.at(tick); now > limit && now != last {
						require.Fail(t, "beyond Polled", "batch %d frame %d: %d beyond %d, last %d, %+v", i, j, now, limit, last, w)
					}
					last = now
				}
				switch r.IntN(3) {
				case 0:
					emptied = 0
				case 1:
					emptied = tick + r.Uint64N(1000)
					tick = emptied
				}
			}
			require.NotZero(t, back)
		})
	}
}

// The frames after a jump of the clock are not spread over the jump.
func TestAJumpAheadIsNotSpreadOverFrames(t *testing.T) {
	for _, policy := range []Policy{Uniform, Weighted, Adaptive, Sample(8)} {
		s := stamper(t, policy)
		stampsOf(s, ofLengths(60), Window{Emptied: origin - 50, Polled: origin})
		ahead := *s.from
		ahead.ns += 3600e9
		s.clock.line.Store(&ahead)
		got := stampsOf(s, ofLengths(1514, 1514, 1514), Window{Polled: origin + 5000})
		require.Greater(t, got[0], uint64(origin+3600e9), "%v", policy)
		require.LessOrEqual(t, got[2], uint64(origin+3600e9+5000))
	}
}

func TestFramesThatEndASleepAreStampedAtItsEnd(t *testing.T) {
	s := stamper(t, Adaptive)
	stampsOf(s, ofLengths(60), Window{Emptied: origin - 50, Polled: origin})
	got := stampsOf(s, ofLengths(1514, 1514), Window{Polled: origin + 40_000_000})
	require.InDelta(t, origin+40_000_000, got[1], 1)
	require.InDelta(t, origin+40_000_000-1230, got[0], 1)
}

// After a stall, the frames of a full ring are placed at the density of those before.
func TestBacklogIsSpreadAtTheRecentDensity(t *testing.T) {
	s := stamper(t, Adaptive)
	const gap = 10_000 // ns between frames
	now := uint64(origin)
	stampsOf(s, ofLengths(500), Window{Emptied: now - 50, Polled: now})
	for range 2000 {
		now += gap
		stampsOf(s, ofLengths(500), Window{Emptied: now - 50, Polled: now})
	}
	emptied := now + 50
	polled := now + 200*gap // away for 200 frames
	frames := make([]ring.Frame, 64)
	for i := range frames {
		frames[i].Len = 500
	}
	for range 3 {
		for _, got := range stampsOf(s, frames, Window{Emptied: emptied, Polled: polled, Full: true}) {
			now += gap
			require.InDelta(t, now, got, 2*gap)
		}
		polled += 1000
	}
	for _, got := range stampsOf(s, frames[:8], Window{Emptied: emptied, Polled: polled}) {
		now += gap
		require.InDelta(t, now, got, 3*gap)
	}
}

func TestStampsOfTheFirstBatchAreBeforeItsPoll(t *testing.T) {
	for _, policy := range []Policy{Batch, Uniform, Weighted, Adaptive, Sample(8)} {
		for _, w := range []Window{
			{Polled: origin}, {Polled: origin, Full: true},
			{Polled: origin, Emptied: origin - 1000}, {Polled: origin, Emptied: origin - 1000, Full: true},
		} {
			for _, got := range stampsOf(stamper(t, policy), ofLengths(60, 1514, 60), w) {
				require.LessOrEqual(t, got, uint64(origin))
				require.Greater(t, got, uint64(origin-1_000_000))
			}
		}
	}
}

func TestBatchOfTheRealClockDoesNotAllocate(t *testing.T) {
	c := New()
	defer c.Close()
	for _, policy := range []Policy{PerPacket, Batch, Uniform, Weighted, Adaptive, Sample(8)} {
		s, err := c.Stamper(policy)
		require.NoError(t, err)
		frames, stamps := ofLengths(60, 1514, 60, 9000), make([]Stamp, 4)
		last := uint64(0)
		emptied := s.Ticks()
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			s.Update()
			polled := s.Ticks()
			s.Batch(frames, Window{Emptied: emptied, Polled: polled}, stamps)
			emptied = polled
			for _, st := range stamps {
				if st.UnixNano() < last {
					t.Error("back")
				}
				last = st.UnixNano()
			}
		}))
		require.NotZero(t, last)
	}
}

func BenchmarkBatch(b *testing.B) {
	c := New()
	defer c.Close()
	frames, stamps := make([]ring.Frame, 64), make([]Stamp, 64)
	for i := range frames {
		frames[i].Len = uint32(60 + i*20)
	}
	for _, policy := range []Policy{PerPacket, Batch, Uniform, Weighted, Adaptive, Sample(8)} {
		b.Run(policy.String(), func(b *testing.B) {
			s, err := c.Stamper(policy)
			require.NoError(b, err)
			emptied, perFrame := uint64(0), 0
			for b.Loop() {
				perFrame += len(frames)
				polled := s.Ticks()
				s.Batch(frames, Window{Emptied: emptied, Polled: polled}, stamps)
				emptied = polled
			}
			b.ReportMetric(math.Round(float64(b.Elapsed().Nanoseconds())/float64(perFrame)*100)/100, "ns/frame")
		})
	}
}

func TestACRCThatIsKeptTakesNoTimeOfItsOwn(t *testing.T) {
	for _, n := range []uint32{60, 61, 1514} {
		require.Equal(t, wireBytes(&ring.Frame{Len: n}), wireBytes(&ring.Frame{Len: n + 4, Info: ring.HasCRC}))
	}
	require.EqualValues(t, 84, wireBytes(&ring.Frame{Len: 30, Info: ring.HasCRC | ring.FrameError}))
}

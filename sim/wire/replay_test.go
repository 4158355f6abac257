package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// virtual is a clock that tests set.
type virtual struct{ now int64 }

const virtualStart = 1_700_000_000_000_000_000

func (v *virtual) Start() int64 { return virtualStart }
func (v *virtual) Since() int64 { return v.now }

const plenty = 1 << 30

// trainOf makes a train of frames of given sizes, frame i filled with byte i.
func trainOf(t testing.TB, r rate, stamps []int64, lengths ...int) *train {
	t.Helper()
	f := &frameFile{stamps: stamps}
	for i, n := range lengths {
		f.slots = append(f.slots, slot{off: int64(len(f.arena)), len: int32(n)})
		f.arena = append(f.arena, bytes.Repeat([]byte{byte(i)}, n)...)
	}
	tr, err := newTrain(f, r)
	require.NoError(t, err)
	return tr
}

// begin makes a replay and starts it at virtual time 0.
func begin(t testing.TB, tr *train, p playback) (*replay, *virtual) {
	t.Helper()
	if p.burst == 0 {
		p.burst = DefaultBurst
	}
	v := &virtual{}
	r := newReplay(tr, p, v)
	n, err := r.Receive(make([]Frame, 1), plenty)
	require.NoError(t, err)
	require.Zero(t, n, "no frame can have arrived when the wire starts")
	return r, v
}

// arrivals steps the clock a nanosecond at a time and returns when frames came.
func arrivals(t *testing.T, r *replay, v *virtual, count int) []int64 {
	t.Helper()
	var at []int64
	frames := make([]Frame, 8)
	for ; len(at) < count; v.now++ {
		n, err := r.Receive(frames, plenty)
		require.NoError(t, err)
		for _, f := range frames[:n] {
			when := f.At - virtualStart
			require.LessOrEqual(t, when, v.now, "no frame comes before its last bit")
			require.LessOrEqual(t, v.now-when, int64(1), "a frame comes with its last bit")
			at = append(at, when)
		}
	}
	return at
}

func TestLineRateSpacesFramesByTheirBits(t *testing.T) {
	for _, c := range []struct {
		size   int
		spaced int64 // tenths of a ns
	}{{1, 672}, {42, 672}, {60, 672}, {61, 680}, {64, 704}, {590, 4912}, {1514, 12304}, {9014, 72304}} {
		tr := trainOf(t, lineRate, nil, c.size)
		r, v := begin(t, tr, playback{total: 20})
		for i, at := range arrivals(t, r, v, 20) {
			require.Equal(t, int64(i+1)*c.spaced/10, at, "size %d frame %d", c.size, i)
		}
		_, err := r.Receive(make([]Frame, 1), plenty)
		require.ErrorIs(t, err, io.EOF)
	}
}

func TestSpacingDoesNotDriftOver100MillionFrames(t *testing.T) {
	frames := 100_000_000
	if slow || testing.Short() {
		frames = 1_000_000
	}
	for _, c := range []struct {
		rate string
		size int
	}{{"line", 65}, {"14.87654321Mpps", 60}, {"9.999999999Gbps", 1514}} {
		t.Run(fmt.Sprint(c.rate, " ", c.size), func(t *testing.T) {
			rt, err := parseRate(Option{"rate", c.rate})
			require.NoError(t, err)
			r, v := begin(t, trainOf(t, rt, nil, manyOf(c.size, 1000)...), playback{total: int64(frames), burst: time.Second})
			batch := make([]Frame, 1000)
			var last int64
			for sent := 0; sent < frames; {
				v.now = r.next/10 + 50_000
				n, err := r.Receive(batch, plenty)
				require.NoError(t, err)
				if n > 0 {
					sent += n
					last = batch[n-1].At - virtualStart
				}
			}
			require.Zero(t, r.Late())

			// The first frame arrives after its own bits, frames-1 steps follow.
			wire := big.NewRat(wireTicks(c.size), 1)
			var step *big.Rat
			switch rt.kind {
			case rateLine:
				step = wire
			case ratePackets:
				step = big.NewRat(ticksPerSecond*1_000_000, rt.per)
			case rateBits:
				step = new(big.Rat).Mul(wire, big.NewRat(ticksPerSecond, rt.per))
			}
			want := new(big.Rat).Mul(step, big.NewRat(int64(frames-1), 1))
			want.Add(want, wire)
			want.Quo(want, big.NewRat(10, 1))
			require.Equal(t, new(big.Int).Quo(want.Num(), want.Denom()).Int64(), last)
		})
	}
}

func TestPacketRateCatchesUpAfterLongFramesButKeepsToTheLine(t *testing.T) {
	// 1 Mpps: 1000 ns apart; the long one needs 1230.4.
	r, v := begin(t, trainOf(t, rate{ratePackets, 1_000_000_000_000}, nil, 60, 1514, 60, 60), playback{total: 8})
	require.Equal(t, []int64{67, 1297, 2067, 3067, 4067, 5297, 6067, 7067}, arrivals(t, r, v, 8))
}

func TestRecordedSpacingSurvivesDisorderAndClockSteps(t *testing.T) {
	stamps := []int64{
		5_000_000_000,
		5_000_001_000,
		5_000_000_500, // out of order: at once, 67.2 ns
		5_000_003_000, // 2000 after the latest
		1_000_000_000, // the clock was set back 4 s: at once
		1_000_000_700,
	}
	r, v := begin(t, trainOf(t, rate{kind: rateRecorded}, stamps, 60, 60, 60, 60, 60, 60), playback{total: 8})
	// In the last pair a second round: mean distance 3700/5.
	require.Equal(t, []int64{67, 1067, 1134, 3067, 3134, 3767, 4507, 5507}, arrivals(t, r, v, 8))
}

func TestRecordedSpacingRefusesYears(t *testing.T) {
	f := &frameFile{arena: make([]byte, 60), slots: []slot{{len: 60}, {len: 60}}, stamps: []int64{0, 1.7e18}}
	_, err := newTrain(f, rate{kind: rateRecorded})
	require.ErrorContains(t, err, "frame 2 of the file comes more than 365 days after the first")
	f.timeless = 2
	_, err = newTrain(f, rate{kind: rateRecorded})
	require.ErrorContains(t, err, "frame 2 of the file has no time stamp")
}

func TestRoundsFollowWithoutAGapAndEnd(t *testing.T) {
	tr := trainOf(t, lineRate, nil, 60, 100, 1514)
	r, v := begin(t, tr, playback{total: 9, burst: time.Second})
	v.now = 1e6
	frames := make([]Frame, 64)
	var order []int
	for {
		n, err := r.Receive(frames, plenty)
		if err == io.EOF {
			require.Zero(t, n)
			break
		}
		require.NoError(t, err)
		require.LessOrEqual(t, n, 3, "a slot is sent once per call")
		for _, f := range frames[:n] {
			order = append(order, len(f.Data))
		}
	}
	require.Equal(t, []int{60, 100, 1514, 60, 100, 1514, 60, 100, 1514}, order)
	_, err := r.Receive(frames, plenty)
	require.ErrorIs(t, err, io.EOF, "from then on always")
}

func TestReceiveThatIsTooEarlySaysHowMuch(t *testing.T) {
	r, v := begin(t, trainOf(t, rate{kind: rateRecorded}, []int64{0, 1_000_000}, 60, 60), playback{total: 2})
	frames := make([]Frame, 2)
	for _, step := range []struct {
		now, early int64
		frames     int
	}{{50, 17, 0}, {67, 0, 0}, {68, 0, 1}, {1000, 999_067, 0}, {1_000_060, 7, 0}, {1_000_068, 0, 1}} {
		v.now = step.now
		n, err := r.Receive(frames, plenty)
		require.NoError(t, err)
		require.Equal(t, step.frames, n, "at %d", step.now)
		require.EqualValues(t, step.early, r.Early(), "at %d", step.now)
	}
}

func TestLateDeviceThreadShiftsTheSchedule(t *testing.T) {
	r, v := begin(t, trainOf(t, lineRate, nil, manyOf(60, 2000)...), playback{total: 2000})
	frames := make([]Frame, 2000)

	v.now = 20_000 // within the burst: all that is due, none late
	n, err := r.Receive(frames, plenty)
	require.NoError(t, err)
	require.Equal(t, 297, n) // 200000/672
	require.Zero(t, r.Late())
	require.EqualValues(t, 67, frames[0].At-virtualStart)

	v.now = 120_000 // 100 us late: 32 us are sent
	n, err = r.Receive(frames, plenty)
	require.NoError(t, err)
	require.Equal(t, 32_000*10/672+1, n)
	next := int64(298 * 672) // was due, in tenths
	shift := 1_200_000 - next - 320_000
	require.Equal(t, time.Duration(shift/10), r.Late())
	require.Equal(t, (next+shift)/10, frames[0].At-virtualStart)
	for i := range n {
		require.Equal(t, (next+int64(i)*672+shift)/10, frames[i].At-virtualStart, "spacing stays that of the line")
		require.LessOrEqual(t, frames[i].At-virtualStart, v.now, "no frame arrives in the future")
	}
	n, err = r.Receive(frames, plenty)
	require.NoError(t, err)
	require.Zero(t, n, "nothing more is due")
}

func manyOf(size, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size
	}
	return s
}

func TestBackpressureWaitsForRoomAndDelays(t *testing.T) {
	r, v := begin(t, trainOf(t, lineRate, nil, 40, 1514, 60), playback{total: 3, backpressure: true})
	frames := make([]Frame, 8)
	v.now = 10_000
	n, err := r.Receive(frames, 59)
	require.NoError(t, err)
	require.Zero(t, n, "a frame of 40 bytes takes 60")

	n, err = r.Receive(frames, 60+1513)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 10_000, frames[0].At-virtualStart, "a blocked frame arrives when there is room")
	require.Equal(t, 9932*time.Nanosecond, r.Late(), "9932.8 ns, in whole ones")

	v.now = 11_229 // 67.2 + 1230.4 later it would be here
	n, err = r.Receive(frames, 1514)
	require.NoError(t, err)
	require.Zero(t, n)
	v.now = 11_231
	n, err = r.Receive(frames, 1514)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 11_230, frames[0].At-virtualStart)

	v.now = 50_000
	n, err = r.Receive(frames, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = r.Receive(frames, 60)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 50_000, frames[0].At-virtualStart)
	_, err = r.Receive(frames, 0)
	require.ErrorIs(t, err, io.EOF)
}

func TestWithoutBackpressureRoomIsIgnored(t *testing.T) {
	r, v := begin(t, trainOf(t, lineRate, nil, 60, 60), playback{total: 2})
	v.now = 1000
	n, err := r.Receive(make([]Frame, 2), 0)
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestClosedReplayIsDown(t *testing.T) {
	r, _ := begin(t, trainOf(t, lineRate, nil, 60), playback{total: forever})
	require.True(t, r.Up())
	require.NoError(t, r.Send(make([]byte, 60)))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.False(t, r.Up())
	_, err := r.Receive(make([]Frame, 1), plenty)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, r.Send(make([]byte, 60)), os.ErrClosed)
}

func TestReceiveDoesNotAllocate(t *testing.T) {
	for _, options := range []string{"gen,size=60", "gen,size=imix,flows=100,proto=tcp"} {
		o, err := ParseOptions(options)
		require.NoError(t, err)
		w, err := Parse(o)
		require.NoError(t, err)
		r := w.(*replay)
		v := &virtual{}
		r.clock = v
		frames := make([]Frame, 32)
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			v.now += 100_000
			if _, err := r.Receive(frames, plenty); err != nil {
				panic(err)
			}
		}), options)
	}
}

func TestRealTimePacingKeepsTheRate(t *testing.T) {
	o, err := ParseOptions("gen,size=60,rate=1Mpps,count=50000")
	require.NoError(t, err)
	w, err := Parse(o)
	require.NoError(t, err)
	frames := make([]Frame, 64)
	before := time.Now()
	var first, last int64
	var lateBefore time.Duration
	for seq := uint64(0); ; {
		require.Less(t, time.Since(before), 60*time.Second, "50 ms of frames did not end, at frame %d", seq)
		n, err := w.Receive(frames, plenty)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		now := time.Now().UnixNano()
		for _, f := range frames[:n] {
			got, err := Sequence(f.Data)
			require.NoError(t, err)
			require.Equal(t, seq, got)
			require.Greater(t, f.At, last)
			require.LessOrEqual(t, f.At, now)
			if last = f.At; seq == 0 {
				first, lateBefore = f.At, w.(Scheduled).Late()
			}
			seq++
		}
	}
	// Exact but for shifts, each of the four times in whole ns.
	require.InDelta(t, 49_999*time.Microsecond+w.(Scheduled).Late()-lateBefore, time.Duration(last-first), 2)
}

func BenchmarkReceive(b *testing.B) {
	for _, name := range []string{"gen,size=60", "gen,size=60,rate=14.88Mpps", "gen,size=60,flows=10000", "gen,size=1514", "gen,size=imix", "pcap"} {
		b.Run(name, func(b *testing.B) {
			var r *replay
			if name == "pcap" {
				r = newReplay(trainOf(b, lineRate, nil, manyOf(60, 20_000)...), playback{total: forever, burst: DefaultBurst}, nil)
			} else {
				o, err := ParseOptions(name)
				require.NoError(b, err)
				w, err := Parse(o)
				require.NoError(b, err)
				r = w.(*replay)
			}
			r.clock = &fastClock{real: &systemClock{}}
			frames := make([]Frame, 32)
			_, err := r.Receive(frames, plenty)
			require.NoError(b, err)
			b.ReportAllocs()
			b.ResetTimer()
			for sent := 0; sent < b.N; {
				n, _ := r.Receive(frames, plenty)
				sent += n
			}
		})
	}
}

// fastClock reads the system's clock, for its cost, and advances fast enough that frames
// are due at every call.
type fastClock struct {
	real *systemClock
	now  int64
}

func (c *fastClock) Start() int64 { return c.real.Start() }
func (c *fastClock) Since() int64 {
	c.now += 40_000
	return c.real.Since() + c.now
}

func ExampleSequence() {
	g, _ := NewGenerator([]Option{{"size", "60"}})
	frame := g.Append(nil, 41)
	seq, err := Sequence(frame)
	fmt.Println(seq, err, len(frame), binary.BigEndian.Uint16(frame[12:]) == 0x0800)
	// Output: 41 <nil> 60 true
}

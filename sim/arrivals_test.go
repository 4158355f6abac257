package sim

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/sim/wire"
)

// timedWire delivers frame n at time 1000 n.
type timedWire struct {
	*testWire
	seq int64
}

func (w *timedWire) Receive(frames []wire.Frame, room int) (int, error) {
	n, err := w.testWire.Receive(frames, room)
	for i := range n {
		frames[i].At = 1000 * w.seq
		w.seq++
	}
	return n, err
}

func recordingRig(t *testing.T, frames int) *rig {
	r := newRig(t, Config{Arrivals: frames})
	r.wire = &timedWire{testWire: r.w}
	r.promiscuous()
	return r
}

// requireArrivals requires that each received frame has its arrival, in order.
func requireArrivals(t *testing.T, r *rig, frames []got, seqs []int) {
	t.Helper()
	list, err := r.Arrivals()
	require.NoError(t, err)
	require.Len(t, list, len(frames))
	for i, e := range list {
		require.EqualValues(t, seqs[i], e.Seq, "arrival %d", i)
		require.EqualValues(t, 1000*seqs[i], e.At)
		require.Equal(t, Digest(frames[i].data), e.Digest)
		require.EqualValues(t, len(frames[i].data), e.Len)
	}
}

func TestEmissionsAreThoseOfTheFramesDelivered(t *testing.T) {
	for _, slow := range []bool{false, true} {
		t.Run(fmt.Sprintf("messages=%v", slow), func(t *testing.T) {
			r := recordingRig(t, 100)
			r.h.slow = slow
			x := r.rx(0, 64, 2048)
			begin := time.Now()
			r.w.push(plain(60), plain(20), plain(1514), plain(333))
			r.run()
			requireArrivals(t, r, x.all(), []int{0, 1, 2, 3})
			list, err := r.Arrivals()
			require.NoError(t, err)
			last := int64(0)
			for _, e := range list {
				// Wide limits: the machine's clock can be set.
				require.WithinRange(t, time.Unix(0, e.Written), begin.Add(-time.Hour), time.Now().Add(time.Hour))
				require.GreaterOrEqual(t, e.Written, last)
				last = e.Written
			}
		})
	}
}

func TestFramesFromThePacketBufferKeepTheirTimes(t *testing.T) {
	r := recordingRig(t, 100)
	x := r.rx(0, 8, 2048)
	for range 20 { // seven fit the ring
		r.w.push(plain(100 + len(r.w.frames)))
	}
	r.run()
	all := x.all()
	require.Len(t, all, 7)
	for len(all) < 20 {
		x.refill()
		r.run()
		all = append(all, x.all()...)
	}
	seqs := make([]int, 20)
	for i := range seqs {
		seqs[i] = i
	}
	requireArrivals(t, r, all, seqs)
}

func TestLostFramesHaveNoArrival(t *testing.T) {
	r := newRig(t, Config{Arrivals: 100, Faults: Faults{BadCRC: 3}})
	r.wire = &timedWire{testWire: r.w}
	r.promiscuous()
	x := r.rx(0, 64, 2048)
	for i := range 9 {
		r.w.push(plain(60 + i))
	}
	r.run()
	require.EqualValues(t, 3, r.Stats().BadCRC)
	requireArrivals(t, r, x.all(), []int{0, 1, 3, 4, 6, 7})
}

func TestEmissionsBeyondTheRoomAreAnError(t *testing.T) {
	r := recordingRig(t, 2)
	r.rx(0, 8, 2048)
	r.w.push(plain(60), plain(60), plain(60))
	r.run()
	_, err := r.Arrivals()
	require.EqualError(t, err, "read arrivals: 1 frames beyond the capacity of 2: raise Config.Arrivals")

	_, err = newRig(t, Config{}).Arrivals()
	require.ErrorContains(t, err, "set Config.Arrivals")
}

func TestArrivalLogInterpolatesBetweenAnchors(t *testing.T) {
	r := newArrivalLog(1)
	r.anchors = append(r.anchors, anchor{1000, 5000}, anchor{2000, 6000}, anchor{4000, 7000})
	for tick, want := range map[uint64]int64{1000: 5000, 1500: 5500, 2000: 6000, 3000: 6500, 4000: 7000, 900: 4900, 4200: 7100} {
		require.Equal(t, want, r.wall(tick), "tick %d", tick)
	}
	r.anchors = r.anchors[:0]
	for range 3 * anchorRoom {
		r.anchor()
	}
	require.LessOrEqual(t, len(r.anchors), anchorRoom)
	for i := 1; i < len(r.anchors); i++ {
		require.Less(t, r.anchors[i-1].tick, r.anchors[i].tick)
	}
}

func TestDigestDistinguishesFrames(t *testing.T) {
	seen := map[uint32]string{}
	note := func(what string, f []byte) {
		d := Digest(f)
		require.Empty(t, seen[d], what)
		seen[d] = what
	}
	for size := range 200 {
		note(fmt.Sprintf("%d zeros", size), make([]byte, size))
	}
	base := plain(200)
	note("plain", base)
	for i := range 56 {
		f := append([]byte(nil), base...)
		f[i]++
		note(fmt.Sprintf("byte %d", i), f)
	}
	for i := 192; i < 200; i++ {
		f := append([]byte(nil), base...)
		f[i]++
		note(fmt.Sprintf("byte %d", i), f)
	}
	f := append([]byte(nil), base...)
	copy(f, base[8:16])
	copy(f[8:], base[:8])
	note("words swapped", f)
}

func TestRecordingAllocatesNothing(t *testing.T) {
	r, w := benchRig(t, Config{Arrivals: 200 * 256}, 60, &testHost{base: testBase, raised: map[[2]int]int{}})
	head := 0
	allocs := testing.AllocsPerRun(100, func() {
		repost(r, head, 256)
		w.left = 256
		r.step(time.Now())
		head = (head + 256) & 4095
	})
	require.Zero(t, allocs)
	list, err := r.Arrivals()
	require.NoError(t, err)
	require.Len(t, list, 101*256)
}

func TestThreadFunctionRunsFirst(t *testing.T) {
	bad := errors.New("no such core")
	_, err := New(Config{Thread: func() error { return bad }}, &testWire{})
	require.ErrorIs(t, err, bad)

	calls := 0
	n, err := New(Config{Thread: func() error { calls++; return nil }}, &testWire{})
	require.NoError(t, err)
	require.Equal(t, 1, calls)
	require.NoError(t, n.Close())
}

package nic_test

import (
	"cmp"
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

const orderedFrames = 40_000

// stamped is a frame's write-back by the model's record, and its stamp. The record is made
// after it and may be late, by as long as the model's thread waits for a processor; the
// frame was written after the record of the one before.
type stamped struct{ after, written, stamp int64 }

// captureOrdered captures frames of many flows on several queues.
func captureOrdered(t *testing.T, queues int, policy clock.Policy) ([]stamped, capture.Ledger) {
	options, err := wire.ParseOptions("gen,size=60-200,flows=500,rate=400kpps,backpressure,count=40000")
	require.NoError(t, err)
	w, err := wire.Parse(options)
	require.NoError(t, err)
	model, err := sim.New(sim.Config{Arrivals: orderedFrames}, w)
	require.NoError(t, err)
	device, err := sim.Connect(model, "sim:ordered")
	require.NoError(t, err)
	port, err := nic.New(device, nic.Config{Queues: queues})
	require.NoError(t, err)
	engine, err := capture.New(port, capture.Config{Stamps: policy, Buffer: 16 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()

	stamps := make([][]int64, queues)
	var reading sync.WaitGroup
	for q := range queues {
		l, err := engine.Stream(q).Listen("order", stream.Options{Policy: stream.Lossless})
		require.NoError(t, err)
		reading.Go(func() {
			batch := make([]stream.Packet, 256)
			for {
				n, err := l.ReadBatch(context.Background(), batch)
				for _, p := range batch[:n] {
					stamps[q] = append(stamps[q], p.Time().UnixNano())
				}
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
			}
			require.NoError(t, l.Close())
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ledger, err := engine.Run(ctx, 10*time.Second)
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	reading.Wait()
	arrivals, err := model.Arrivals()
	require.NoError(t, err)
	require.EqualValues(t, ledger.Frames(), len(arrivals))
	all := make([]stamped, len(arrivals))
	for i, a := range arrivals { // within a queue, in the order of the stream
		all[i] = stamped{arrivals[max(i-1, 0)].Written, a.Written, stamps[a.Queue][0]}
		stamps[a.Queue] = stamps[a.Queue][1:]
	}
	return all, ledger
}

// The model records when it wrote each frame to the host. That lies within the
// uncertainty of the frame's stamp, and so no two stamps disagree with the order of
// arrival by more than the ledger's bound.
func TestStampsAreWithinTheirUncertainty(t *testing.T) {
	// The stamps' clock and that of the model's record are two fits of CLOCK_REALTIME.
	const clocks = 100 * time.Microsecond
	for _, policy := range []clock.Policy{clock.PerPacket, clock.Batch, clock.Uniform, clock.Adaptive} {
		t.Run(policy.String(), func(t *testing.T) {
			frames, ledger := captureOrdered(t, 4, policy)
			var least, most time.Duration
			for _, f := range frames {
				least = min(least, time.Duration(f.stamp-f.after))
				most = max(most, time.Duration(f.stamp-f.written))
			}
			var uncertainty time.Duration
			for _, q := range ledger.Queues {
				require.Positive(t, q.Uncertainty)
				uncertainty = max(uncertainty, q.Uncertainty)
			}
			t.Logf("stamps from %v to %v after the write-back, uncertainty %v, order bound %v", least, most, uncertainty, ledger.OrderBound())
			require.LessOrEqual(t, most, uncertainty+clocks)
			require.LessOrEqual(t, -least, uncertainty+clocks)

			slices.SortStableFunc(frames, func(a, b stamped) int { return cmp.Compare(a.written, b.written) })
			var latest int64
			for _, f := range frames {
				require.LessOrEqual(t, time.Duration(latest-f.stamp), ledger.OrderBound()+2*clocks)
				latest = max(latest, f.stamp)
			}
		})
	}
}

func TestOneQueueHasTheOrderOfArrival(t *testing.T) {
	frames, ledger := captureOrdered(t, 1, clock.PerPacket)
	require.Zero(t, ledger.OrderBound())
	require.True(t, slices.IsSortedFunc(frames, func(a, b stamped) int { return cmp.Compare(a.stamp, b.stamp) }))
}

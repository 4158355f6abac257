package e2e

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/sim"
)

// openEngine returns an engine over the model, and the model.
func openEngine(t *testing.T, device string, port nic.Config, cfg capture.Config) (*capture.Engine, *sim.NIC) {
	t.Helper()
	p, err := nic.Open(device, port)
	require.NoError(t, err)
	if cfg.Buffer == 0 {
		cfg.Buffer = 4 << 20
	}
	e, err := capture.New(p, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e, p.Device().(interface{ NIC() *sim.NIC }).NIC()
}

// requireReturns requires that f returns nil before the deadline.
func requireReturns(t *testing.T, call string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
	defer cancel()
	require.NoError(t, f(ctx), call)
	require.NoError(t, ctx.Err(), "%s took longer than %v", call, testtime.Deadline)
}

// audit requires that the ledger balances and agrees with the model's counters.
func audit(t *testing.T, e *capture.Engine, model *sim.NIC) capture.Ledger {
	t.Helper()
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	truth := model.Stats()
	require.NoError(t, truth.Balanced())
	require.Equal(t, truth.Delivered, l.Account.Received, "%+v", truth)
	require.Equal(t, truth.Missed, causes(l.Account.Missed)["RXMPC"], "%+v", truth)
	return l
}

// causes returns the frames of each cause.
func causes(counts []capture.Count) map[string]uint64 {
	m := map[string]uint64{}
	for _, c := range counts {
		m[c.Cause] += c.Frames
	}
	return m
}

func TestStalledListenerMovesTheLossToTheNICWhereItIsCounted(t *testing.T) {
	const frames = 100_000
	e, model := openEngine(t, fmt.Sprintf("sim:gen,size=1514,count=%d", frames), nic.Config{RingSize: 512}, capture.Config{Segment: 1 << 20})
	stalled, err := e.Stream(0).Listen("stalled", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	lossy, err := e.Stream(0).Listen("lossy", stream.Options{Policy: stream.Lossy})
	require.NoError(t, err)
	defer lossy.Close()
	require.NoError(t, e.Start())
	require.Eventually(t, func() bool { return model.Stats().Offered == frames }, testtime.Deadline, time.Millisecond)

	// All frames are sent, and none is read. Now the reader reads all received frames.
	done := make(chan error, 1)
	go func() {
		_, err := rawstore.Discard(context.Background(), stalled)
		done <- err
	}()
	requireReturns(t, "Wait", e.Wait)
	require.NoError(t, e.Stop())
	require.NoError(t, <-done)
	l := audit(t, e, model)
	require.EqualValues(t, frames, l.Account.Wire)
	require.NotZero(t, causes(l.Account.Missed)["RXMPC"], "a stalled reader overruns the port's packet buffer")
	require.NotZero(t, l.Lost())
	require.Equal(t, l.Account.Received, stalled.Stats().Read)
	require.Zero(t, stalled.Stats().Overrun)
	require.NoError(t, stalled.Close())
}

func TestFramesOfAListenerThatNeverReadsAreCountedAsRefused(t *testing.T) {
	e, model := openEngine(t, "sim:gen,size=1514", nic.Config{RingSize: 512}, capture.Config{StallTimeout: 200 * time.Millisecond})
	hung, err := e.Stream(0).Listen("hung", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	defer hung.Close()
	require.NoError(t, e.Start())
	require.Eventually(t, func() bool { return e.Stream(0).Stats().Fill > 4<<20-2*1526 && model.Stats().Missed > 1000 },
		testtime.Deadline, time.Millisecond)
	err = e.Stop()
	require.ErrorContains(t, err, "a lossless listener read nothing for 200ms")
	l := audit(t, e, model)
	require.NotZero(t, causes(l.Queues[0].Refused)["abandoned at the end"])
	require.Equal(t, err, e.Stop(), "a second Stop returns the same error")
}

func TestStoppingUnderFullLoadLosesNothingUnaccounted(t *testing.T) {
	for _, queues := range []int{1, 4} {
		t.Run(fmt.Sprintf("queues=%d", queues), func(t *testing.T) {
			e, model := openEngine(t, "sim:gen,size=60-1514,flows=64", nic.Config{Queues: queues}, capture.Config{Segment: 1 << 20})
			ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
			defer cancel()
			go func() { // stop while traffic flows
				for e.Counters().Frames < 20_000 && ctx.Err() == nil {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			l, err := recorder.Run(ctx, e, recorder.Config{Dirs: []string{recorder.Null}, Queue: capture.AllQueues})
			require.NoError(t, err)
			require.NoError(t, l.Balanced())
			audit(t, e, model)
			require.GreaterOrEqual(t, l.Frames(), uint64(20_000))
			for _, q := range l.Queues {
				require.Len(t, q.Listeners, 1)
				require.Equal(t, q.Stored, q.Listeners[0].Read, "the storer has read every frame")
			}
		})
	}
}

func TestDamagedFramesAreCountedAsBad(t *testing.T) {
	e, model := openEngine(t, "sim:gen,count=5000,backpressure,fault=crc:100", nic.Config{}, capture.Config{})
	l, err := recorder.Run(t.Context(), e, recorder.Config{Dirs: []string{recorder.Null}, Queue: capture.AllQueues})
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	audit(t, e, model)
	require.EqualValues(t, 5000, l.Account.Wire)
	require.EqualValues(t, 50, causes(l.Account.Bad)["CRCERRS"])
	require.EqualValues(t, 4950, l.Frames())
}

func TestRemovedDeviceEndsTheCapture(t *testing.T) {
	p, err := nic.Open("sim:gen,count=100000,backpressure,fault=remove:20000", nic.Config{})
	require.NoError(t, err)
	e, err := capture.New(p, capture.Config{Buffer: 4 << 20})
	require.NoError(t, err)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), testtime.Deadline)
	defer cancel()
	l, err := recorder.Run(ctx, e, recorder.Config{Dirs: []string{dir}, Queue: capture.AllQueues, Store: rawstore.Config{Port: "gone"}})
	require.ErrorContains(t, err, "gone from the bus")
	require.NotContains(t, err.Error(), "\n", "one error only")
	require.NoError(t, ctx.Err(), "the capture did not end by itself")
	got, _ := readRaw(t, dir)
	require.NotEmpty(t, got)
	require.EqualValues(t, l.Frames(), len(got), "the frames received before the removal are stored")
	requireQueuesBalance(t, l)
	require.NoError(t, e.Close())
}

// requireQueuesBalance requires that a ledger balances from the queues on: the counters
// of a removed device cannot be read.
func requireQueuesBalance(t *testing.T, l capture.Ledger) {
	t.Helper()
	var polled uint64
	for _, q := range l.Queues {
		polled += q.Polled
	}
	require.Positive(t, polled)
	l.Account = capture.Account{Wire: polled, Received: polled}
	require.NoError(t, l.Balanced())
}

// In steady state the whole chain of model, driver, poller, stream and storer
// allocates nothing per frame.
func TestNothingIsAllocatedPerFrame(t *testing.T) {
	for name, dir := range map[string]string{"consumed": recorder.Null, "stored": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			e, _ := openEngine(t, "sim:gen,size=60,flows=16,rate=1Mpps", nic.Config{}, capture.Config{Buffer: 8 << 20})
			done := make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				l, err := recorder.Run(ctx, e, recorder.Config{Dirs: []string{dir}, Queue: capture.AllQueues})
				done <- errors.Join(err, l.Balanced())
			}()
			frames := func() uint64 { return e.Counters().Frames }
			require.Eventually(t, func() bool { return frames() > 50_000 }, testtime.Deadline, time.Millisecond)
			var before, after runtime.MemStats
			var n uint64
			for try := range 6 { // the statistics reader and the clock allocate now and then
				f := frames()
				runtime.ReadMemStats(&before)
				time.Sleep(200 * time.Millisecond << try) // long enough for a loaded machine
				runtime.ReadMemStats(&after)
				if n = frames() - f; n > 10_000 && after.Mallocs-before.Mallocs < n/1000 {
					break
				}
			}
			cancel()
			require.NoError(t, <-done)
			require.Greater(t, n, uint64(10_000))
			require.Less(t, after.Mallocs-before.Mallocs, n/1000, "allocations while %d frames passed", n)
		})
	}
}

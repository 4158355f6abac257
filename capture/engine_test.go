package capture_test

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
)

func engine(t *testing.T, p *capturetest.Port, cfg capture.Config) *capture.Engine {
	t.Helper()
	cfg.Buffer = 1 << 20
	e, err := capture.New(p, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, e.Close())
		require.Equal(t, 1, p.Closed)
	})
	return e
}

func TestStopDrainsTheRingsAfterTheEndOfTheWire(t *testing.T) {
	p := capturetest.New(3)
	e := engine(t, p, capture.Config{})
	require.Equal(t, 3, e.Queues())
	var readers sync.WaitGroup
	got := make([]int, 3)
	for q := range 3 {
		l, err := e.Stream(q).Listen("reader", stream.Options{Policy: stream.Lossless})
		require.NoError(t, err)
		readers.Go(func() {
			for range l.Packets(context.Background()) {
				got[q]++
			}
			require.NoError(t, l.Err())
		})
	}
	require.NoError(t, e.Start())
	require.ErrorContains(t, e.Start(), "started before")
	for q, s := range p.Queues {
		s.Put(30_000 + q)
	}
	p.CloseEnded()
	require.NoError(t, e.Wait(t.Context()))
	require.NoError(t, e.Stop())
	readers.Wait()
	require.Equal(t, []int{30_000, 30_001, 30_002}, got)
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 90_003, l.Frames())
	require.EqualValues(t, 90_003*60, l.Bytes())
	require.Equal(t, 1, p.Stopped)
}

func TestWaitEndsWithItsContextAndCanBeRepeated(t *testing.T) {
	p := capturetest.New(1)
	e := engine(t, p, capture.Config{})
	require.NoError(t, e.Start())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, e.Wait(ctx), context.DeadlineExceeded)
	p.Queues[0].Put(5)
	require.Eventually(t, func() bool { return e.Counters().Frames == 5 }, 30*time.Second, time.Millisecond, "the capture goes on")
	require.NoError(t, e.Stop())
	require.NoError(t, e.Wait(t.Context()), "over")
}

func TestWaitReportsADeviceThatIsGone(t *testing.T) {
	p := capturetest.New(1)
	e := engine(t, p, capture.Config{})
	require.NoError(t, e.Start())
	p.CloseGone()
	require.ErrorContains(t, e.Wait(t.Context()), "capture on fake: pulled out")
}

func TestWaitReportsAPollerThatCannotRun(t *testing.T) {
	p := capturetest.New(1)
	e := engine(t, p, capture.Config{})
	capture.SetCore(e, 0, 100_000) // taken from the process after New
	require.NoError(t, e.Start())
	require.ErrorContains(t, e.Wait(t.Context()), "core 100000")
	p.Queues[0].Put(100)
	require.ErrorContains(t, e.Stop(), "core 100000")
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced(), "frames that were not polled are accounted for")
	require.EqualValues(t, 100, l.Lost())
}

func TestStartReportsAPortThatCannotStart(t *testing.T) {
	p := capturetest.New(1)
	p.StartErr = errors.New("no carrier")
	e := engine(t, p, capture.Config{})
	require.ErrorContains(t, e.Start(), "start capture on fake: no carrier")
}

func TestEngineThatNeverStartedEndsItsStreams(t *testing.T) {
	e := engine(t, capturetest.New(1), capture.Config{})
	l, err := e.Stream(0).Listen("reader", stream.Options{})
	require.NoError(t, err)
	require.NoError(t, e.Stop())
	_, err = l.ReadBlock(t.Context(), 4096)
	require.ErrorIs(t, err, io.EOF)
	ledger, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
}

func TestCaptureWithAMinimalStallTimeoutStops(t *testing.T) {
	e := engine(t, capturetest.New(1), capture.Config{StallTimeout: time.Nanosecond})
	require.NoError(t, e.Start())
	require.NotPanics(t, func() { _ = e.Stop() }) // an error only if the poller was not fast enough
	ledger, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
}

func TestHungListenerDelaysStopByTheStallTimeout(t *testing.T) {
	p := capturetest.New(1)
	e := engine(t, p, capture.Config{StallTimeout: 50 * time.Millisecond})
	l, err := e.Stream(0).Listen("hung", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	p.Queues[0].Put(100_000) // 7 MB into a buffer of 1 MiB
	require.ErrorContains(t, e.Stop(), "a lossless listener read nothing for 50ms")
	ledger, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	require.EqualValues(t, 100_000, ledger.Frames()+ledger.Lost())
	require.Len(t, ledger.Queues[0].Listeners, 1)
	require.Equal(t, ledger.Frames(), ledger.Queues[0].Listeners[0].Unread)
	require.NoError(t, l.Close())
}

func TestNewRejectsInvalidSettings(t *testing.T) {
	for want, c := range map[string]struct {
		queues int
		cfg    capture.Config
	}{
		"no receive queue":   {0, capture.Config{}},
		"snaplen -1":         {1, capture.Config{SnapLen: -1}},
		"snaplen 65536":      {1, capture.Config{SnapLen: 65536}},
		"one for each queue": {2, capture.Config{Cores: []int{0}}},
		"power of two":       {1, capture.Config{Buffer: 3 << 20}},
		"multiple of 1 MiB":  {1, capture.Config{Segment: 1000}},
		"batch of -1":        {1, capture.Config{Batch: -1}},
		"batch of 5000":      {1, capture.Config{Batch: 5000}},
		"unknown policy 9":   {1, capture.Config{Stamps: 9}},
		"window of -1s":      {2, capture.Config{Dedup: &dedup.Config{Window: -time.Second}}},
	} {
		p := capturetest.New(c.queues)
		_, err := capture.New(p, c.cfg)
		require.ErrorContains(t, err, want)
		require.Zero(t, p.Closed, "the caller still owns the port")
	}
}

func TestCountersGiveRates(t *testing.T) {
	at := time.Now()
	before := capture.Counters{At: at, Frames: 10, StoredBytes: 100, Polled: 20, Bytes: 1000, Lost: 1}
	now := capture.Counters{
		At: at.Add(2 * time.Second), Frames: 200_010, StoredBytes: 100 + 25_000_000,
		Polled: 2_000_020, Bytes: 1000 + 2_500_000_000, Lost: 5, Fill: 0.5,
	}
	r := now.Since(before)
	require.InDelta(t, 10, r.Received.Gbps, 1e-9)
	require.InDelta(t, 1, r.Received.Mpps, 1e-9)
	require.InDelta(t, 0.1, r.Stored.Gbps, 1e-9)
	require.InDelta(t, 0.1, r.Stored.Mpps, 1e-9)
	require.Equal(t, "received 10.000 Gb/s 1.000 Mpps  stored 0.100 Gb/s 0.100 Mpps", r.String())
	r.Stored = r.Received
	r.Stored.Gbps *= 0.995
	require.Equal(t, "received 10.000 Gb/s 1.000 Mpps", r.String(), "frames between two counters")
	require.InDelta(t, 2, r.LostPerSecond, 1e-9)
	require.EqualValues(t, 5, r.Lost)
}

func TestUseAfterStopAndCloseIsErrClosed(t *testing.T) {
	p := capturetest.New(1)
	e, err := capture.New(p, capture.Config{Buffer: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, e.Stop())
	require.ErrorIs(t, e.Start(), os.ErrClosed)
	require.ErrorIs(t, e.SetRules(0, nil), os.ErrClosed)
	require.NoError(t, e.Close())
	require.ErrorIs(t, e.Close(), os.ErrClosed)
	require.Equal(t, 1, p.Closed)
}

func TestASecondRunReturnsAtOnceAndStopsNothing(t *testing.T) {
	p := capturetest.New(1)
	e, err := capture.New(p, capture.Config{Buffer: 1 << 20})
	require.NoError(t, err)
	l, err := e.Stream(0).Listen("slow", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	p.Queues[0].Put(10)
	require.Eventually(t, func() bool { return e.Counters().Frames == 10 }, 30*time.Second, time.Millisecond)
	again := func() error {
		start := time.Now()
		ledger, err := e.Run(t.Context(), time.Hour)
		require.Less(t, time.Since(start), time.Minute)
		require.EqualValues(t, 10, ledger.Queues[0].Stored)
		return err
	}
	require.EqualError(t, again(), "start capture on fake: the engine was started before. Make another engine")
	require.Zero(t, p.Stopped)
	require.NoError(t, e.Stop())
	err = again()
	require.ErrorIs(t, err, os.ErrClosed)
	require.EqualError(t, err, "start capture on fake: the engine was stopped: file already closed. Make another engine")
	require.NoError(t, l.Close())
	require.NoError(t, e.Close())
}

func TestNewRaisesGOMAXPROCSUnlessToldNotTo(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	t.Setenv("GOMAXPROCS", "")
	engine(t, capturetest.New(1), capture.Config{KeepGOMAXPROCS: true})
	require.Equal(t, runtime.NumCPU(), runtime.GOMAXPROCS(0))
	var log logtest.Recorder
	engine(t, capturetest.New(1), capture.Config{Logger: log.Logger()})
	require.Equal(t, runtime.NumCPU()+2, runtime.GOMAXPROCS(0))
	require.Contains(t, log.Text(), "GOMAXPROCS raised")
}

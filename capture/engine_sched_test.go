package capture_test

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// ringPort is a fake port with small rings.
type ringPort struct{ *capturetest.Port }

type ringSource struct{ *capturetest.Queue }

func (ringSource) Size() int { return 64 }

func (p ringPort) Sources() (all []capture.Source) {
	for _, s := range p.Queues {
		all = append(all, ringSource{s})
	}
	return all
}

func TestALedgerNamesTheListenerThatBlockedThePoller(t *testing.T) {
	var log logtest.Recorder
	p := ringPort{capturetest.New(1)}
	e, err := capture.New(p, capture.Config{Buffer: 1 << 20, Logger: log.Logger()})
	require.NoError(t, err)
	l, err := e.Stream(0).Listen("tardy", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		require.NoError(t, e.Close())
	})
	require.NoError(t, e.Start())
	p.Queues[0].Put(100_000) // 7 MB into a buffer of 1 MiB
	require.Eventually(t, func() bool { return e.Counters().Frames == 4096 }, 30*time.Second, time.Millisecond, "the index is full")
	time.Sleep(200 * time.Millisecond) // the poller is blocked for about as long
	packets := make([]stream.Packet, 256)
	done := make(chan error)
	go func() {
		for {
			if _, err := l.ReadBatch(t.Context(), packets); err != nil {
				done <- err
				return
			}
		}
	}()
	require.NoError(t, e.Stop())
	err = <-done
	require.True(t, errors.Is(err, io.EOF), "%v", err)
	ledger, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	require.EqualValues(t, 100_000, ledger.Frames())
	q := ledger.Queues[0]
	require.NotZero(t, q.ExcessiveGaps)
	require.LessOrEqual(t, len(q.WorstGaps), 8)
	blocked := false
	for _, w := range q.WorstGaps {
		blocked = blocked || w.Excessive && w.Cause == sched.CauseBackpressure && w.Listener == "tardy" && w.Backpressure >= 50*time.Millisecond
	}
	require.True(t, blocked, "%+v", q.WorstGaps)
	require.Contains(t, log.Text(), "; tardy (pid ")
	var text strings.Builder
	require.NoError(t, ledger.WriteText(&text))
	require.Contains(t, text.String(), "exceeded the NIC buffer")
}

// One listener holds the stream; when it has read on, another has more frames unread.
func TestAGapNamesTheListenerThatHeldTheStreamThen(t *testing.T) {
	p := capturetest.New(1)
	e, err := capture.New(p, capture.Config{Buffer: 1 << 20})
	require.NoError(t, err)
	slow, err := e.Stream(0).Listen("slow", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	other, err := e.Stream(0).Listen("storer", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, errors.Join(slow.Close(), other.Close()))
		require.NoError(t, e.Close())
	})
	read := func(l *stream.Listener, frames int) {
		packets := make([]stream.Packet, 256)
		for frames > 0 {
			n, err := l.ReadBatch(t.Context(), packets[:min(len(packets), frames)])
			require.NoError(t, err)
			frames -= n
		}
	}
	require.NoError(t, e.Start())
	p.Queues[0].Put(5000)
	require.Eventually(t, func() bool { return e.Counters().Frames == 4096 }, testtime.Deadline, time.Millisecond, "the index is full")
	read(other, 4096)
	time.Sleep(200 * time.Millisecond) // the poller is blocked for about as long
	read(slow, 5000)
	require.NoError(t, e.Stop())
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	blocked := 0
	for _, g := range l.Queues[0].WorstGaps {
		if g.Cause == sched.CauseBackpressure && g.Backpressure > 50*time.Millisecond {
			blocked++
			require.Equal(t, "slow", g.Listener)
			require.Equal(t, os.Getpid(), g.PID)
		}
	}
	require.NotZero(t, blocked, "%+v", l.Queues[0].WorstGaps)
	for _, l := range e.Stream(0).Stats().Listeners {
		require.Equal(t, l.Name == "slow", l.Held > 50*time.Millisecond, "%s: %v", l.Name, l.Held)
	}
}

func TestNewRejectsSCHEDFIFOThatCouldLockUpTheMachine(t *testing.T) {
	cores := make([]int, runtime.NumCPU())
	for i := range cores {
		cores[i] = i
	}
	for want, c := range map[string]struct {
		queues int
		cfg    capture.Config
	}{
		"none would be left": {len(cores), capture.Config{FIFO: 50, Cores: cores}},
		"Choose 1 to 99":     {1, capture.Config{FIFO: 100}},
		"core 100000 for a poller: this machine has the cores 0": {1, capture.Config{Cores: []int{100_000}}},
	} {
		p := capturetest.New(c.queues)
		_, err := capture.New(p, c.cfg)
		require.ErrorContains(t, err, want)
		require.Zero(t, p.Closed)
	}
}

func TestCoresOfOtherEnginesAreNotChosen(t *testing.T) {
	cores := make([]int, runtime.NumCPU())
	for i := range cores {
		cores[i] = i
	}
	e, err := capture.New(capturetest.New(1), capture.Config{Buffer: 1 << 20, Taken: cores})
	require.NoError(t, err)
	require.Equal(t, []int{capture.AnyCore}, e.Cores())
	require.NoError(t, e.Close())
	_, err = capture.New(capturetest.New(1), capture.Config{Buffer: 1 << 20, Taken: cores, FIFO: 50})
	require.ErrorContains(t, err, "none would be left")

	e, err = capture.New(capturetest.New(1), capture.Config{Buffer: 1 << 20, Taken: cores[1:], Cores: cores[:1]})
	require.NoError(t, err)
	require.Equal(t, []int{0}, e.Cores(), "requested cores are used")
	require.NoError(t, e.Close())
}

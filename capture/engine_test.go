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
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/ring"
)

// fakeSource returns frames that a test has put.
type fakeSource struct {
	mu     sync.Mutex
	frames int
	taken  int
	frame  func(n int) []byte // the n-th; nil: payload
}

var payload = make([]byte, 60)

func (s *fakeSource) Poll(frames []ring.Frame) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(frames), s.frames)
	for i := range n {
		b := payload
		if s.frame != nil {
			b = s.frame(s.taken + i)
		}
		frames[i] = ring.Frame{Data: b, Len: uint32(len(b))}
	}
	s.frames -= n
	s.taken += n
	return n
}

func (s *fakeSource) Release() {}

func (s *fakeSource) put(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames += n
}

// fakePort is a port of fake sources.
type fakePort struct {
	sources  []*fakeSource
	ended    chan struct{}
	gone     chan struct{}
	startErr error
	closed   int
	stopped  int
}

func newPort(queues int) *fakePort {
	p := &fakePort{ended: make(chan struct{}), gone: make(chan struct{})}
	for range queues {
		p.sources = append(p.sources, &fakeSource{})
	}
	return p
}

func (p *fakePort) Name() string { return "fake" }

func (p *fakePort) Sources() (all []capture.Source) {
	for _, s := range p.sources {
		all = append(all, s)
	}
	return all
}

func (p *fakePort) Start() error           { return p.startErr }
func (p *fakePort) Stop() error            { p.stopped++; return nil }
func (p *fakePort) Ended() <-chan struct{} { return p.ended }
func (p *fakePort) Gone() <-chan struct{}  { return p.gone }
func (p *fakePort) GoneErr() error         { return errors.New("pulled out") }
func (p *fakePort) Close() error           { p.closed++; return nil }

func (p *fakePort) Account() (a capture.Account, err error) {
	for _, s := range p.sources {
		s.mu.Lock()
		n := uint64(s.taken + s.frames)
		s.mu.Unlock()
		a.Queue = append(a.Queue, n)
		a.Received += n
		a.Wire += n
	}
	return a, nil
}

func engine(t *testing.T, p *fakePort, cfg capture.Config) *capture.Engine {
	t.Helper()
	cfg.Buffer = 1 << 20
	e, err := capture.New(p, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, e.Close())
		require.Equal(t, 1, p.closed)
	})
	return e
}

func TestStopDrainsTheRingsAfterTheEndOfTheWire(t *testing.T) {
	p := newPort(3)
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
	for q, s := range p.sources {
		s.put(30_000 + q)
	}
	close(p.ended)
	require.NoError(t, e.Wait(t.Context()))
	require.NoError(t, e.Stop())
	readers.Wait()
	require.Equal(t, []int{30_000, 30_001, 30_002}, got)
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 90_003, l.Frames())
	require.EqualValues(t, 90_003*60, l.Bytes())
	require.Equal(t, 1, p.stopped)
}

func TestWaitEndsWithItsContextAndCanBeRepeated(t *testing.T) {
	p := newPort(1)
	e := engine(t, p, capture.Config{})
	require.NoError(t, e.Start())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, e.Wait(ctx), context.DeadlineExceeded)
	p.sources[0].put(5)
	require.Eventually(t, func() bool { return e.Counters().Frames == 5 }, 30*time.Second, time.Millisecond, "the capture goes on")
	require.NoError(t, e.Stop())
	require.NoError(t, e.Wait(t.Context()), "over")
}

func TestWaitReportsADeviceThatIsGone(t *testing.T) {
	p := newPort(1)
	e := engine(t, p, capture.Config{})
	require.NoError(t, e.Start())
	close(p.gone)
	require.ErrorContains(t, e.Wait(t.Context()), "capture on fake: pulled out")
}

func TestWaitReportsAPollerThatCannotRun(t *testing.T) {
	p := newPort(1)
	e := engine(t, p, capture.Config{Cores: []int{100_000}})
	require.NoError(t, e.Start())
	require.ErrorContains(t, e.Wait(t.Context()), "core 100000")
	p.sources[0].put(100)
	require.ErrorContains(t, e.Stop(), "core 100000")
	l, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, l.Balanced(), "frames that were not polled are accounted for")
	require.EqualValues(t, 100, l.Lost())
}

func TestStartReportsAPortThatCannotStart(t *testing.T) {
	p := newPort(1)
	p.startErr = errors.New("no carrier")
	e := engine(t, p, capture.Config{})
	require.ErrorContains(t, e.Start(), "start capture on fake: no carrier")
}

func TestEngineThatNeverStartedEndsItsStreams(t *testing.T) {
	e := engine(t, newPort(1), capture.Config{})
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
	e := engine(t, newPort(1), capture.Config{StallTimeout: time.Nanosecond})
	require.NoError(t, e.Start())
	require.NotPanics(t, func() { _ = e.Stop() }) // an error only if the poller was not fast enough
	ledger, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
}

func TestHungListenerDelaysStopByTheStallTimeout(t *testing.T) {
	p := newPort(1)
	e := engine(t, p, capture.Config{StallTimeout: 50 * time.Millisecond})
	l, err := e.Stream(0).Listen("hung", stream.Options{Policy: stream.Lossless})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	p.sources[0].put(100_000) // 7 MB into a buffer of 1 MiB
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
		p := newPort(c.queues)
		_, err := capture.New(p, c.cfg)
		require.ErrorContains(t, err, want)
		require.Zero(t, p.closed, "the caller still owns the port")
	}
}

func TestCountersGiveRates(t *testing.T) {
	at := time.Now()
	before := capture.Counters{At: at, Frames: 10, Bytes: 1000, Lost: 1}
	now := capture.Counters{At: at.Add(2 * time.Second), Frames: 2_000_010, Bytes: 1000 + 2_500_000_000, Lost: 5, Fill: 0.5}
	r := now.Since(before)
	require.InDelta(t, 10, r.Gbps, 1e-9)
	require.InDelta(t, 1, r.Mpps, 1e-9)
	require.InDelta(t, 2, r.LostPerSecond, 1e-9)
	require.EqualValues(t, 5, r.Lost)
}

func TestUseAfterStopAndCloseIsErrClosed(t *testing.T) {
	p := newPort(1)
	e, err := capture.New(p, capture.Config{Buffer: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, e.Stop())
	require.ErrorIs(t, e.Start(), os.ErrClosed)
	require.ErrorIs(t, e.SetRules(0, nil), os.ErrClosed)
	require.NoError(t, e.Close())
	require.ErrorIs(t, e.Close(), os.ErrClosed)
	require.Equal(t, 1, p.closed)
}

func TestNewRaisesGOMAXPROCSUnlessToldNotTo(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	t.Setenv("GOMAXPROCS", "")
	engine(t, newPort(1), capture.Config{KeepGOMAXPROCS: true})
	require.Equal(t, runtime.NumCPU(), runtime.GOMAXPROCS(0))
	var log logtest.Recorder
	engine(t, newPort(1), capture.Config{Logger: log.Logger()})
	require.Equal(t, runtime.NumCPU()+2, runtime.GOMAXPROCS(0))
	require.Contains(t, log.Text(), "GOMAXPROCS raised")
}

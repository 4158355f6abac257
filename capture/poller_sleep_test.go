package capture

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream"
)

// sleepyTap is a tap that implements Sleeper; Wake and put end a sleep.
type sleepyTap struct {
	*tap
	woken  chan struct{}
	sleeps atomic.Int64
	limits atomic.Int64 // longest limit, ns
}

func newSleepyTap() *sleepyTap { return &sleepyTap{tap: newTap(), woken: make(chan struct{}, 1)} }

func (d *sleepyTap) CanSleep() bool { return true }

func (d *sleepyTap) Sleep(limit time.Duration) bool {
	d.sleeps.Add(1)
	d.limits.Store(max(d.limits.Load(), int64(limit)))
	<-d.woken // without the limit: only Wake and frames end it
	return true
}

func (d *sleepyTap) Wake() {
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

func (d *sleepyTap) put(n int64) {
	d.limit.Add(n)
	d.Wake()
}

func TestPollerSleepsWithoutFramesAndIsWokenToStop(t *testing.T) {
	for name, end := range map[string]func(*poller){"stop": (*poller).stop, "drain": (*poller).drain} {
		t.Run(name, func(t *testing.T) {
			s := newTestStream(t, stream.Config{Size: 1 << 20})
			l, err := s.Listen("reader", stream.Options{Policy: stream.Lossless})
			require.NoError(t, err)
			defer func() { require.NoError(t, l.Close()) }()
			src := newSleepyTap()
			p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Idle: IdleSleep, Sleeper: src})
			done := runPoller(p)
			for round := range int64(20) {
				eventually(t, "the poller to sleep", func() bool { return src.sleeps.Load() > round })
				src.put(100)
				eventually(t, "the frames", func() bool { return p.counters().Frames == 100*uint64(round+1) })
			}
			eventually(t, "the poller to sleep", func() bool { return len(src.woken) == 0 && src.sleeps.Load() > 20 })
			end(p)
			within(t, "the poller to end", done)
			c := p.counters()
			require.EqualValues(t, 2000, c.Frames)
			require.Less(t, c.Polls, uint64(200), "no polls during a sleep")
			require.GreaterOrEqual(t, c.Sleeps, uint64(20))
			require.Equal(t, int64(sleepLimit), src.limits.Load())
		})
	}
}

// sleepyTap's Sleep has no limit: only Wake ends it.
func TestRequestsToTheStreamWakeASleepingPoller(t *testing.T) {
	s := newTestStream(t, stream.Config{Size: 4 << 20})
	src := newSleepyTap()
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Idle: IdleSleep, Sleeper: src})
	done := runPoller(p)
	all, err := s.Listen("all", stream.Options{})
	require.NoError(t, err)
	src.put(1)
	eventually(t, "a frame", func() bool { return p.counters().Frames == 1 })
	block := make(chan error, 1)
	go func() {
		_, err := all.ReadBlock(t.Context(), 1<<20)
		block <- err
	}()
	aligned, err := s.Listen("aligned", stream.Options{Aligned: true})
	require.NoError(t, err)
	within(t, "the end of the segment", block)
	src.put(1)
	n, err := aligned.ReadBatch(t.Context(), make([]stream.Packet, 2))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, aligned.Close())
	require.NoError(t, all.Close())
	p.drain()
	within(t, "the poller to end", done)
}

func TestSleepIsNoGapBetweenPolls(t *testing.T) {
	const nap = 100 * time.Millisecond
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	eventually(t, "a sleep without a gap", func() bool { // a busy machine causes gaps, too
		src := newSleepyTap()
		p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Idle: IdleSleep, Sleeper: src})
		p.lastPoll = clock.Ticks()
		p.poll()
		go func() {
			for src.sleeps.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(nap)
			src.Wake()
		}()
		p.idle(1)
		p.poll()
		p.publish()
		c := p.counters()
		return c.Slept >= nap/2 && c.Longest < nap/2
	})
}

func TestSleepingPollerDoesNotAllocate(t *testing.T) {
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	src := newSleepyTap()
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Idle: IdleSleep, Sleeper: src})
	require.Zero(t, testing.AllocsPerRun(200, func() {
		src.put(32)
		if p.poll() != 32 {
			t.Error("batch lost")
		}
		p.idle(1)
	}))
}

// sleepyPort is a port with one such queue.
type sleepyPort struct {
	Port
	src  Source
	gone chan struct{}
}

func (p *sleepyPort) Name() string              { return "sleepy" }
func (p *sleepyPort) Sources() []Source         { return []Source{p.src} }
func (p *sleepyPort) Start() error              { return nil }
func (p *sleepyPort) Close() error              { return nil }
func (p *sleepyPort) Ended() <-chan struct{}    { return nil }
func (p *sleepyPort) Gone() <-chan struct{}     { return p.gone }
func (p *sleepyPort) Account() (Account, error) { return Account{}, nil }

func TestEngineSleepsIfThePortHasInterrupts(t *testing.T) {
	_, err := New(&sleepyPort{src: newTap()}, Config{Buffer: 1 << 20, Idle: IdleSleep})
	require.ErrorContains(t, err, "capture on sleepy: queue 0 has no interrupt to wake a poller that sleeps. Open the port with queue interrupts")
	for idle, want := range map[Idle]Idle{IdleAuto: IdleSleep, IdleSleep: IdleSleep, IdleBusy: IdleBusy, IdleYield: IdleYield} {
		e, err := New(&sleepyPort{src: newSleepyTap()}, Config{Buffer: 1 << 20, Idle: idle})
		require.NoError(t, err)
		require.Equal(t, want, e.pollers[0].config.Idle)
		require.Equal(t, want == IdleSleep, e.pollers[0].sleeper != nil)
		require.NoError(t, e.Close())
	}
}

// endless is a source that always has frames, on a port that cannot be stopped.
type endless struct{ *tap }

type endlessPort struct{ sleepyPort }

func (p *endlessPort) Stop() error { return context.DeadlineExceeded }

func TestStopEndsOnAPortThatCannotBeStopped(t *testing.T) {
	src := &endless{tap: newTap()}
	src.limit.Store(1 << 62)
	e, err := New(&endlessPort{sleepyPort{src: src}}, Config{Buffer: 1 << 20, Idle: IdleYield, StallTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	for e.pollers[0].counters().Frames == 0 {
		runtime.Gosched()
	}
	done := make(chan error, 1)
	go func() { done <- e.Stop() }()
	select {
	case err := <-done:
		require.ErrorIs(t, err, context.DeadlineExceeded)
	case <-time.After(30 * time.Second):
		require.Fail(t, "Stop hangs")
	}
	require.NoError(t, e.Close(), "Stop has returned the error")
}

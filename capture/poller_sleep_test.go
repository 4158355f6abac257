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

// dozer is a tap whose reader can sleep; Wake and put end it.
type dozer struct {
	*tap
	bell   chan struct{}
	sleeps atomic.Int64
	limits atomic.Int64 // longest limit, ns
}

func newDozer() *dozer { return &dozer{tap: newTap(), bell: make(chan struct{}, 1)} }

func (d *dozer) CanSleep() bool { return true }

func (d *dozer) Sleep(limit time.Duration) bool {
	d.sleeps.Add(1)
	d.limits.Store(max(d.limits.Load(), int64(limit)))
	<-d.bell // longer than it may: only Wake and frames end it
	return true
}

func (d *dozer) Wake() {
	select {
	case d.bell <- struct{}{}:
	default:
	}
}

func (d *dozer) put(n int64) {
	d.limit.Add(n)
	d.Wake()
}

func TestPollerSleepsWhileNothingComesAndIsWokenToStop(t *testing.T) {
	for name, end := range map[string]func(*poller){"stop": (*poller).stop, "drain": (*poller).drain} {
		t.Run(name, func(t *testing.T) {
			s := newTestStream(t, stream.Config{Size: 1 << 20})
			l, err := s.Listen("reader", stream.Options{Policy: stream.Lossless})
			require.NoError(t, err)
			defer func() { require.NoError(t, l.Close()) }()
			src := newDozer()
			p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Idle: IdleSleep, Sleeper: src})
			done := runPoller(p)
			for round := range int64(20) {
				eventually(t, "the poller to sleep", func() bool { return src.sleeps.Load() > round })
				src.put(100)
				eventually(t, "the frames", func() bool { return p.counters().Frames == 100*uint64(round+1) })
			}
			eventually(t, "the poller to sleep", func() bool { return len(src.bell) == 0 && src.sleeps.Load() > 20 })
			end(p)
			within(t, "the poller to end", done)
			c := p.counters()
			require.EqualValues(t, 2000, c.Frames)
			require.Less(t, c.Polls, uint64(200), "it does not poll while it sleeps")
			require.GreaterOrEqual(t, c.Sleeps, uint64(20))
			require.Equal(t, int64(sleepLimit), src.limits.Load())
		})
	}
}

func TestSleepIsNoGapBetweenPolls(t *testing.T) {
	const nap = 100 * time.Millisecond
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	eventually(t, "a sleep without a gap", func() bool { // a busy machine makes gaps, too
		src := newDozer()
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
	src := newDozer()
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore, Idle: IdleSleep, Sleeper: src})
	require.Zero(t, testing.AllocsPerRun(200, func() {
		src.put(32)
		if p.poll() != 32 {
			t.Error("batch lost")
		}
		p.idle(1)
	}))
}

// dozePort is a port with one such queue.
type dozePort struct {
	Port
	src  Source
	gone chan struct{}
}

func (p *dozePort) Name() string              { return "dozy" }
func (p *dozePort) Sources() []Source         { return []Source{p.src} }
func (p *dozePort) Start() error              { return nil }
func (p *dozePort) Close() error              { return nil }
func (p *dozePort) Ended() <-chan struct{}    { return nil }
func (p *dozePort) Gone() <-chan struct{}     { return p.gone }
func (p *dozePort) Account() (Account, error) { return Account{}, nil }

func TestEngineSleepsWhereThePortCanWakeIt(t *testing.T) {
	_, err := New(&dozePort{src: newTap()}, Config{Buffer: 1 << 20, Idle: IdleSleep})
	require.ErrorContains(t, err, "capture on dozy: queue 0 has no interrupt to wake a poller that sleeps. Open the port with queue interrupts")
	for idle, want := range map[Idle]Idle{IdleAuto: IdleSleep, IdleSleep: IdleSleep, IdleBusy: IdleBusy, IdleYield: IdleYield} {
		e, err := New(&dozePort{src: newDozer()}, Config{Buffer: 1 << 20, Idle: idle})
		require.NoError(t, err)
		require.Equal(t, want, e.pollers[0].config.Idle)
		require.Equal(t, want == IdleSleep, e.pollers[0].sleeper != nil)
		require.NoError(t, e.Close())
	}
}

// restless is a source that never runs dry, on a port that cannot be stopped.
type restless struct{ *tap }

type restlessPort struct{ dozePort }

func (p *restlessPort) Stop() error { return context.DeadlineExceeded }

func TestPortThatCannotBeStoppedDoesNotHoldStopUp(t *testing.T) {
	src := &restless{tap: newTap()}
	src.limit.Store(1 << 62)
	e, err := New(&restlessPort{dozePort{src: src}}, Config{Buffer: 1 << 20, Idle: IdleYield, StallTimeout: 50 * time.Millisecond})
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
	require.NoError(t, e.Close(), "who stopped has been told")
}

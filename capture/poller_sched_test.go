package capture

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/ring"
)

const ms = time.Millisecond

// smallRing is a source with a ring of 64 descriptors.
type smallRing struct{ Source }

func (smallRing) Size() int { return 64 }

// backdate sets the time of the last poll to so long ago.
func (p *poller) backdate(d time.Duration) {
	p.lastPoll = p.stamper.Ticks() - uint64(float64(d)/float64(max(p.stamper.Nanoseconds(1<<20), 1))*(1<<20))
}

func TestPollerRecordsLongGapsAndTheCapacity(t *testing.T) {
	src := newTap()
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	p := newPoller(smallRing{src}, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore})
	require.NoError(t, p.monitor.Start())
	p.lastPoll = p.stamper.Ticks()
	src.limit.Store(1_000)
	const length = time.Hour // no other gap of the machine is as long
	p.backdate(length)
	for i := range uint64(3) {
		require.Equal(t, defaultBatch, p.poll())
		p.backdate(time.Duration(i) * 100 * ms) // gaps while accumulated frames are polled
	}
	for p.poll() > 0 {
	}
	p.publish()
	p.monitor.Stop(p.sample(p.stamper.Ticks()))
	worst, excessive := p.monitor.Worst()
	require.NotEmpty(t, worst)
	require.NotZero(t, excessive)
	w := worst[0]
	require.GreaterOrEqual(t, w.Length, length-time.Second)
	require.EqualValues(t, 1000, w.Frames, "all accumulated frames")
	require.EqualValues(t, 200, w.FrameSize)
	require.NotZero(t, w.Rate)
	require.True(t, w.Excessive)
	require.Less(t, w.Capacity, w.Length)
	require.GreaterOrEqual(t, p.counters().Longest, w.Length)

	// A pause of the poller without accumulated frames is not recorded.
	before := len(worst)
	p.backdate(300 * ms)
	p.monitor.Attribute(p.lastPoll, 0, p.stamper.Ticks()-p.lastPoll)
	p.poll()
	p.monitor.Stop(p.sample(p.stamper.Ticks()))
	worst, _ = p.monitor.Worst()
	for _, w := range worst[min(before, len(worst)):] {
		require.NotEqual(t, sched.CausePaused, w.Cause)
	}
}

func TestRecordingAGapDoesNotAllocate(t *testing.T) {
	r, _ := benchPoller(t)
	s := newTestStream(t, stream.Config{Size: 64 << 20})
	p := newPoller(smallRing{r.Queue()}, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore})
	require.NoError(t, p.monitor.Start())
	defer func() { p.monitor.Stop(p.sample(p.stamper.Ticks())) }()
	require.Zero(t, testing.AllocsPerRun(200, func() {
		p.backdate(20 * ms)
		if r.Fill(32, 60) != 32 || p.poll() != 32 {
			t.Error("batch lost")
		}
		p.idle(1)
	}))
	_, excessive := p.monitor.Worst()
	require.NotZero(t, excessive)
}

// mayFIFO skips a test where this process may not use SCHED_FIFO, or where a
// thread that has it would leave the tests no core.
func mayFIFO(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("needs two cores")
	}
	if r := topology.ReadRealTime("/"); r.Priority == 0 {
		t.Skip("needs CAP_SYS_NICE (run as root) or a real-time limit (ulimit -r 1)")
	}
	errs := make(chan error)
	stamper := newStamper(t)
	go func() {
		runtime.LockOSThread() // and never unlocked
		errs <- sched.NewMonitor(sched.Config{Clock: stamper, Core: AnyCore, FIFO: 1}).Start()
	}()
	if err := <-errs; errors.Is(err, unix.EPERM) { // a control group without real-time budget
		t.Skip("needs a control group that may use SCHED_FIFO: " + err.Error())
	} else {
		require.NoError(t, err)
	}
}

// policies is a source that reads the scheduling policy of the calling thread.
type policies struct{ seen chan *unix.SchedAttr }

func (p *policies) Poll([]ring.Frame) int {
	if attr, err := unix.SchedGetAttr(0, 0); err == nil {
		select {
		case p.seen <- attr:
		default:
		}
	}
	return 0
}

func (p *policies) Release() {}

func TestOnlyThePollerGetsSCHEDFIFO(t *testing.T) {
	mayFIFO(t)
	cores := sched.UsableCores(topology.Read("/"))
	for _, core := range []int{AnyCore, cores[len(cores)-1]} {
		s := newTestStream(t, stream.Config{Size: 1 << 20})
		src := &policies{make(chan *unix.SchedAttr, 1)}
		p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: core, FIFO: 1, Idle: IdleYield})
		done := runPoller(p)
		attr := <-src.seen
		p.stop()
		within(t, "the poller to stop", done)
		require.EqualValues(t, unix.SCHED_FIFO, attr.Policy)
		require.EqualValues(t, 1, attr.Priority)
		require.NotZero(t, attr.Flags&unix.SCHED_FLAG_RESET_ON_FORK, "threads that it starts have the ordinary policy")
	}
	requireOrdinaryThreads(t)
}

func TestPollerIsDemotedFromSCHEDFIFOWhenNothingElseRuns(t *testing.T) {
	mayFIFO(t)
	cores := sched.UsableCores(topology.Read("/"))
	start := func(after time.Duration) (*poller, *policies, *sched.Heartbeat) {
		s := newTestStream(t, stream.Config{Size: 1 << 20})
		src, heart := &policies{make(chan *unix.SchedAttr)}, new(sched.Heartbeat)
		p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{
			Core: cores[len(cores)-1], FIFO: 1, Idle: IdleYield, Heartbeat: heart, StarvedAfter: after,
		})
		done := runPoller(p)
		t.Cleanup(func() {
			p.stop()
			within(t, "the poller to stop", done)
		})
		return p, src, heart
	}
	p, src, heart := start(time.Hour)
	for range 100 {
		heart.Beat()
		require.EqualValues(t, unix.SCHED_FIFO, (<-src.seen).Policy, "while other goroutines run")
	}
	require.False(t, p.monitor.Demoted())
	p.stop()

	p, src, _ = start(20 * time.Millisecond)
	require.Eventually(t, func() bool { return (<-src.seen).Policy == unix.SCHED_NORMAL }, time.Minute, time.Millisecond)
	var log logtest.Recorder
	report := sched.NewReporter(log.Logger())
	for range 2 {
		report.Report([]sched.Queue{{Monitor: p.monitor}}, 0, time.Now(), false)
	}
	require.Equal(t, 1, strings.Count(log.Text(), "poller demoted from SCHED_FIFO: no other goroutine ran for 20ms"))
}

func requireOrdinaryThreads(t *testing.T) {
	t.Helper()
	// The threads of pollers have ended: no other goroutine runs with the policy.
	for range 50 {
		done := make(chan error, 1)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			attr, err := unix.SchedGetAttr(0, 0)
			if err == nil && attr.Policy != unix.SCHED_NORMAL {
				err = errors.New("still SCHED_FIFO")
			}
			done <- err
		}()
		within(t, "a goroutine", done)
	}
}

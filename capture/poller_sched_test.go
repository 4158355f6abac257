package capture

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/ring"
)

const ms = time.Millisecond

func TestAStallIsRiskyWhenItIsLongerThanThePortHoldsWhatArrives(t *testing.T) {
	const kib512 = 512 << 10
	for _, c := range []struct {
		name              string
		length            time.Duration
		found             uint64
		frames, bytes, ns uint64
		descriptors       uint64
		buffer            int
		holds             time.Duration
		risky             bool
	}{
		{"line rate of 60 B", 1 * ms, 0, 148_800, 148_800 * 60, 10e6, 4096, kib512, 825_806, true},
		{"line rate of 60 B, shorter", 800 * time.Microsecond, 0, 148_800, 148_800 * 60, 10e6, 4096, kib512, 825_806, false},
		{"without the packet buffer", 800 * time.Microsecond, 0, 148_800, 148_800 * 60, 10e6, 4096, 0, 275_268, true},
		{"line rate of 1514 B holds longer", 5 * ms, 0, 8_127, 8_127 * 1514, 10e6, 4096, kib512, 5_464_501, false},
		{"a tenth of the rate", 5 * ms, 0, 14_880, 14_880 * 60, 10e6, 4096, kib512, 8_258_064, false},
		{"a burst in the stall fills the ring", 9 * ms, 12_288, 12_288, 12_288 * 60, 90e6, 4096, kib512, 90 * ms, true},
		{"a burst that the line could not bring", 800 * time.Microsecond, 12_288, 12_288, 12_288 * 60, 90e6, 4096, kib512, 90 * ms, false},
		{"nothing arrived", 90 * ms, 0, 0, 0, 100e6, 4096, kib512, 0, false},
		{"a ring of unknown size", 90 * ms, 64, 1000, 60_000, 100e6, 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Stall{Length: c.length, Frames: c.found}
			s.judge(c.frames, c.bytes, c.ns, c.descriptors, &Limits{LineRate: 10e9, PacketBuffer: c.buffer, BufferStep: 16})
			require.InEpsilon(t, c.holds+1, s.Holds+1, 1e-3)
			require.Equal(t, c.risky, s.Risky)
		})
	}
}

func TestARateBeforeTheStallIsBelievedIfItWasHigher(t *testing.T) {
	s := Stall{Length: 50 * ms, Rate: 14_880_000}
	s.judge(12_000, 720_000, 60e6, 4096, &Limits{LineRate: 10e9, PacketBuffer: 512 << 10, BufferStep: 16}) // what ring and buffer held is all there was left
	require.InEpsilon(t, 825_806, s.Holds, 1e-3)
}

func TestTheCauseOfAStallIsWhatExplainsMostOfIt(t *testing.T) {
	timed, untimed := usage{counted: true, timed: true}, usage{counted: true}
	for _, c := range []struct {
		name  string
		stall Stall
		usage usage
		fifo  bool
		want  string
	}{
		{"core taken", Stall{Waited: 6 * ms, Preempted: 1}, timed, false, CausePreempted},
		{"core taken from a real-time thread", Stall{Waited: 6 * ms, Preempted: 1}, timed, true, CauseThrottled},
		{"core given away, and not got back", Stall{Waited: 6 * ms, Blocked: 2}, timed, false, CauseWoken},
		{"core taken for the lesser part", Stall{Waited: 4 * ms, Preempted: 1}, timed, false, CauseOutside},
		{"held", Stall{Held: 6 * ms, Waited: 6 * ms, Blocked: 9}, timed, false, CauseHeld},
		{"held for the lesser part", Stall{Held: 4 * ms, Blocked: 1}, timed, false, CauseBlocked},
		{"paused", Stall{Paused: 9 * ms, Blocked: 1}, timed, false, CausePaused},
		{"blocked", Stall{Blocked: 1}, timed, false, CauseBlocked},
		{"none of it", Stall{}, timed, false, CauseOutside},
		{"a kernel that does not measure waiting", Stall{Preempted: 1}, untimed, false, CausePreempted},
		{"a kernel that tells nothing", Stall{}, usage{}, false, CauseUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.stall.Length = 10 * ms
			require.Equal(t, c.want, c.stall.cause(c.usage, c.fifo))
			require.Contains(t, causes, c.want, "warnings know it")
		})
	}
}

func TestSchedstatIsReadAsTheKernelWritesIt(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"502427206 110303222 108\n": {502427206, 110303222}, "0 0 0\n": {}, "": {}, "x": {}, "12": {12, 0},
	} {
		ran, waited := schedstat([]byte(text))
		require.Equal(t, want, [2]uint64{ran, waited}, text)
	}
}

func TestTheUsageOfAThreadGrows(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var u threadUsage
	require.False(t, u.read().timed, "not opened")
	u.open()
	defer u.close()
	first := u.read()
	require.True(t, first.counted)
	for end := time.Now().Add(30 * time.Second); u.read().blocked+u.read().preempted == first.blocked+first.preempted; time.Sleep(ms) {
		require.True(t, time.Now().Before(end), "a thread that sleeps is switched")
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { u.read() }))
}

func stallOf(length time.Duration, risky bool) *Stall {
	return &Stall{Length: length, Risky: risky, Cause: CausePreempted, At: time.Now()}
}

func lengths(stalls []Stall) (all []time.Duration) {
	for _, s := range stalls {
		all = append(all, s.Length)
	}
	return all
}

func TestTheBookKeepsTheWorstStalls(t *testing.T) {
	var b stallBook
	for _, n := range []time.Duration{5, 3, 9, 1, 7, 2, 8, 4, 6, 10} {
		b.put(stallOf(n, n == 2 || n == 4))
	}
	worst, risky := b.read()
	require.EqualValues(t, 2, risky)
	require.Equal(t, []time.Duration{4, 2, 10, 9, 8, 7, 6, 5}, lengths(worst), "risky ones first, then the longest")
	seen := 0
	fresh := b.take(func(s *Stall) { seen++ })
	require.Equal(t, []time.Duration{2, 4}, lengths(fresh))
	require.Equal(t, 8+2, seen)
	require.Empty(t, b.take(func(s *Stall) { t.Error("explained twice") }))
}

func TestTheBookNeverMakesThePollerWait(t *testing.T) {
	var b stallBook
	b.mu.Lock()
	for i := range len(b.later) + 3 {
		b.put(stallOf(time.Duration(i+1), true))
	}
	b.retry()
	b.mu.Unlock()
	_, risky := b.read()
	require.Zero(t, risky)
	b.retry()
	worst, risky := b.read()
	require.Len(t, worst, len(b.later))
	require.EqualValues(t, len(b.later)+3, risky, "those that had no room are counted")
	b.mu.Lock()
	b.put(stallOf(1, false))
	b.mu.Unlock()
	b.end()
	worst, _ = b.read()
	require.Len(t, worst, len(b.later)+1)
}

// sized is a tap with a ring of 64 descriptors.
type sized struct{ *tap }

func (sized) Size() int { return 64 }

// late makes the poller believe that it polled last so long ago.
func (p *poller) late(d time.Duration) {
	p.lastPoll = p.stamper.Ticks() - uint64(float64(d)/float64(max(p.stamper.Nanoseconds(1<<20), 1))*(1<<20))
}

func TestPollerNotesItsStallsAndWhatTheyCouldCost(t *testing.T) {
	src := sized{newTap()}
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{Core: AnyCore})
	p.lastPoll, p.stalls.at = p.stamper.Ticks(), p.stamper.Ticks()
	src.limit.Store(1_000)
	const length = time.Hour // whatever else the machine does, it is no such stall
	p.late(length)
	for i := range uint64(3) {
		require.Equal(t, defaultBatch, p.once())
		p.late(time.Duration(i) * 100 * ms) // gaps while what had come is taken
	}
	for p.once() > 0 {
	}
	p.flush()
	p.unschedule()
	worst, risky := p.stalls.book.read()
	require.NotEmpty(t, worst)
	require.NotZero(t, risky)
	w := worst[0]
	require.GreaterOrEqual(t, w.Length, length-time.Second)
	require.EqualValues(t, 1000, w.Frames, "all that had come together")
	require.EqualValues(t, 200, w.Size)
	require.NotZero(t, w.Rate)
	require.True(t, w.Risky)
	require.Less(t, w.Holds, w.Length)
	require.GreaterOrEqual(t, p.counters().Longest, w.Length)

	// Nothing arrived, and the poller had paused by itself: nothing to tell.
	before := len(worst)
	p.late(300 * ms)
	p.stalls.spent(p.lastPoll, 0, p.stamper.Ticks()-p.lastPoll)
	p.once()
	p.unschedule()
	worst, _ = p.stalls.book.read()
	for _, w := range worst[min(before, len(worst)):] {
		require.NotEqual(t, CausePaused, w.Cause)
	}
}

func TestNotingAStallDoesNotAllocate(t *testing.T) {
	r, p := benchPoller(t)
	p.stalls.descriptors = 64
	p.stalls.thread.open()
	defer p.stalls.thread.close()
	require.Zero(t, testing.AllocsPerRun(200, func() {
		p.late(20 * ms)
		if r.Fill(32, 60) != 32 || p.once() != 32 {
			t.Error("batch lost")
		}
		p.idle(1)
	}))
	_, risky := p.stalls.book.read()
	require.NotZero(t, risky)
}

func TestWarningsSayWhatHappenedAndDoNotRepeatThemselves(t *testing.T) {
	var log logtest.Recorder
	w := warner{logger: log.Logger()}
	s := newTestStream(t, stream.Config{Size: 1 << 20})
	p := &poller{config: pollerConfig{Core: 3}}
	look := func(missed uint64, at time.Duration, last bool) []string {
		w.stalled([]*poller{p}, []*stream.Stream{s}, missed, time.Unix(1_000_000, 0).Add(at), last)
		return log.Take()
	}
	require.Empty(t, look(0, 0, false))
	stall := Stall{
		Length: 8_312_345, Risky: true, Cause: CausePreempted, Rate: 14_880_952, Size: 60, Holds: 825_806,
		At: time.Date(2020, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
	}
	p.stalls.book.put(&stall)
	p.stalls.book.put(stallOf(ms, false))
	require.Equal(t, []string{"queue 0 was not polled for 8.31ms until 03:04:05.678901, preempted: other threads had its core; " +
		"at 14.9 Mpps of 60 bytes the port holds 826µs. It missed 77 frames around then. Keep core 3 free for it (isolcpus=3, or SCHED_FIFO): docs/SCHEDULING.md"}, look(77, time.Second, false))
	p.stalls.book.put(&stall)
	require.Empty(t, look(77, 2*time.Second, false), "the same again")
	outside := stall
	outside.Cause = CauseOutside
	p.stalls.book.put(&outside)
	require.Len(t, look(77, 3*time.Second, false), 1, "another cause")
	longer := stall
	longer.Length *= 2
	p.stalls.book.put(&longer)
	require.Empty(t, look(77, 4*time.Second, false))
	require.Contains(t, strings.Join(look(77, 62*time.Second, false), "\n"), "16.6ms until 03:04:05.678901 (the longest of 2 times)")
	p.stalls.book.put(&stall)
	require.Len(t, look(77, 63*time.Second, true), 1, "what was held back is told in the end")
}

func TestEveryCauseHasARemedy(t *testing.T) {
	for _, cause := range causes {
		for _, core := range []int{AnyCore, 2} {
			require.NotEmpty(t, (&Stall{Cause: cause}).remedy(core))
		}
	}
	require.Contains(t, (&Stall{Cause: CauseThrottled}).remedy(2), "sched_rt_runtime_us")
	require.Contains(t, (&Stall{Cause: CauseThrottled}).remedy(2), "fair_server/cpu2/")
	require.NotContains(t, (&Stall{Cause: CauseThrottled}).remedy(AnyCore), "fair_server")
}

func TestAGarbageCollectionThatFellIntoAStallIsNamed(t *testing.T) {
	at := time.Now()
	gc := &debug.GCStats{
		PauseEnd: []time.Time{at.Add(-ms), at.Add(-time.Minute)},
		Pause:    []time.Duration{ms / 2, ms / 2},
	}
	for _, c := range []struct {
		stall Stall
		want  string
	}{
		{Stall{At: at, Length: 2 * ms, Cause: CauseBlocked}, CauseCollection},
		{Stall{At: at, Length: ms / 2, Cause: CauseBlocked}, CauseBlocked},
		{Stall{At: at.Add(-59 * time.Second), Length: 2 * ms, Cause: CauseBlocked}, CauseBlocked},
		{Stall{At: at, Length: 2 * ms, Cause: CausePreempted}, CausePreempted},
	} {
		c.stall.explain(gc, "somebody")
		require.Equal(t, c.want, c.stall.Cause)
		require.Empty(t, c.stall.Listener)
	}
	held := Stall{At: at, Length: 2 * ms, Cause: CauseHeld}
	held.explain(gc, "somebody")
	require.Equal(t, "somebody", held.Listener)
}

func TestWhatKeepsAFIFOPollerFromPollingIsToldBefore(t *testing.T) {
	var log logtest.Recorder
	logger := log.Logger()
	on := topology.RealTime{Known: true, Runtime: 950 * ms, Period: time.Second}
	off := topology.RealTime{Known: true, Runtime: -1}
	pinned, floating := []topology.Choice{{Core: 1}}, []topology.Choice{{Core: AnyCore}}
	scheduling(logger, 0, floating, on)
	scheduling(logger, 50, pinned, off)
	require.Empty(t, log.Lines())
	scheduling(logger, 50, pinned, on)
	require.Equal(t, []string{"the kernel stops pollers of SCHED_FIFO for 50ms of each 1s: " + topology.ThrottlingFix}, log.Take())
	scheduling(logger, 50, floating, off)
	said := log.Take()
	require.Len(t, said, 1)
	require.Contains(t, said[0], "queue 0's poller has SCHED_FIFO and no core of its own")
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
	go func() {
		runtime.LockOSThread() // and never unlocked
		errs <- setFIFO(1)
	}()
	if err := <-errs; errors.Is(err, unix.EPERM) { // a control group without real-time budget
		t.Skip("needs a control group that may use SCHED_FIFO: " + err.Error())
	} else {
		require.NoError(t, err)
	}
}

// policies is a source that looks at the policy of who polls it.
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

func TestPollerGetsSCHEDFIFOAndNobodyElse(t *testing.T) {
	mayFIFO(t)
	cores := allowedCores()
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
		require.NotZero(t, attr.Flags&unix.SCHED_FLAG_RESET_ON_FORK, "threads that it starts are ordinary")
	}
	requireOrdinaryThreads(t)
}

func TestPollerGivesSCHEDFIFOUpWhenNothingElseRuns(t *testing.T) {
	mayFIFO(t)
	cores := allowedCores()
	start := func(after time.Duration) (*poller, *policies, *atomic.Uint64) {
		s := newTestStream(t, stream.Config{Size: 1 << 20})
		src, beat := &policies{make(chan *unix.SchedAttr)}, new(atomic.Uint64)
		p := newPoller(src, s.Producer(), newStamper(t), pollerConfig{
			Core: cores[len(cores)-1], FIFO: 1, Idle: IdleYield, Beat: beat,
		})
		p.dog.after = after
		done := runPoller(p)
		t.Cleanup(func() {
			p.stop()
			within(t, "the poller to stop", done)
		})
		return p, src, beat
	}
	p, src, beat := start(time.Hour)
	for range 100 {
		beat.Add(1)
		require.EqualValues(t, unix.SCHED_FIFO, (<-src.seen).Policy, "as long as others run")
	}
	require.False(t, p.dog.bit.Load())
	p.stop()

	p, src, _ = start(20 * time.Millisecond)
	require.Eventually(t, func() bool { return (<-src.seen).Policy == unix.SCHED_NORMAL }, time.Minute, time.Millisecond)
	var log logtest.Recorder
	for range 2 {
		givenUp(log.Logger(), []*poller{p})
	}
	require.Len(t, log.Lines(), 1)
	require.Contains(t, log.Text(), "queue 0's poller gave SCHED_FIFO up")
}

func requireOrdinaryThreads(t *testing.T) {
	t.Helper()
	// A thread of a poller's has gone with it: no other goroutine finds itself with the policy.
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

func TestSCHEDFIFOWithoutPermissionSaysWhatToDo(t *testing.T) {
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_RTPRIO, &limit))
	if limit.Cur > 0 {
		t.Skip("needs a shell without a real-time limit (ulimit -r 0)")
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it has lost
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			errs <- err
			return
		}
		errs <- setFIFO(50)
	}()
	err := <-errs
	require.ErrorIs(t, err, os.ErrPermission)
	require.EqualError(t, err, "SCHED_FIFO priority 50 for a poller: operation not permitted: allow it to the program (sudo setcap cap_sys_nice+ep PROGRAM) or to its user (ulimit -r 50, in systemd LimitRTPRIO=50)")
}

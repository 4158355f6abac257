package sched

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// Each row is a second of one poller that lost a million frames.
func TestALossIsJudgedByWhatThePollerDid(t *testing.T) {
	throttled := Throttling{Quota: "control group /x: 50ms of CPU time in each 100ms (cpu.max)", Throttled: 500 * ms, Periods: 10}
	disk := Listener{Name: "storer", PID: 7, Unread: 9000, Disk: &Disk{Writing: 4}}
	for name, c := range map[string]struct {
		in    interval
		queue queueInterval
		want  Cause
		text  string
	}{
		"overload": {queue: queueInterval{Frames: 9_100_000, Busy: 950 * ms, Waited: 3 * ms, Gaps: map[Cause]time.Duration{CausePreempted: 2 * ms}},
			want: CauseOverload, text: "poller busy 95 %, 10.1 Mpps offered, 9.13 Mpps processed (110 ns a frame)"},
		"overload on a busy machine": {queue: queueInterval{Frames: 4_000_000, Busy: 600 * ms, Waited: 150 * ms}, want: CauseOverload},
		"overload on a machine that is busier still": {queue: queueInterval{Frames: 10_000, Busy: 50 * ms, Waited: 1100 * ms, Gaps: map[Cause]time.Duration{CausePreempted: 900 * ms}},
			want: CauseOverload},
		"preempted, with a wait of the interval before": {queue: queueInterval{Frames: 100_000, Busy: 50 * ms, Waited: 1100 * ms, Gaps: map[Cause]time.Duration{CausePreempted: 900 * ms}},
			want: CausePreempted},
		"preempted, and catching up": {queue: queueInterval{Frames: 4_000_000, Busy: 500 * ms, Waited: 400 * ms},
			want: CausePreempted, text: "the poller was runnable and had no core for 400ms of 1s"},
		"preempted": {queue: queueInterval{Frames: 1_000_000, Waited: 400 * ms}, want: CausePreempted},
		"woken late": {queue: queueInterval{Frames: 1_000_000, Waited: 400 * ms, Gaps: map[Cause]time.Duration{CausePreempted: ms, CauseWoken: 9 * ms}},
			want: CauseWoken},
		"stopped, and often woken a little late": {queue: queueInterval{Frames: 1_000_000, Waited: 500 * ms, Gaps: map[Cause]time.Duration{CauseStopped: 300 * ms}},
			want: CauseStopped},
		"a kernel that does not measure waiting": {queue: queueInterval{Gaps: map[Cause]time.Duration{CausePreempted: 9 * ms}},
			want: CausePreempted, text: "had no core for 9ms of 1s"},
		"quota": {in: interval{Throttled: throttled}, queue: queueInterval{Frames: 4_000_000, Busy: 300 * ms, Waited: 400 * ms},
			want: CauseQuota, text: "control group /x: 50ms of CPU time in each 100ms (cpu.max), throttled for 500ms in 10 periods; the poller had no core for 400ms of 1s"},
		"a quota that hardly throttles": {in: interval{Throttled: Throttling{Throttled: 5 * ms, Periods: 1}}, queue: queueInterval{Waited: 400 * ms}, want: CausePreempted},
		"overload under a quota":        {in: interval{Throttled: throttled}, queue: queueInterval{Frames: 500_000, Busy: 600 * ms, Waited: 400 * ms}, want: CauseOverload},
		"slow listener": {queue: queueInterval{Frames: 100_000, Backpressure: 900 * ms, Busy: ms, Listener: Listener{Name: "tardy", PID: 42, Unread: 5}},
			want: CauseBackpressure, text: "the stream was full for 900ms of 1s; tardy (pid 42) has 5 frames unread"},
		"slow disk": {queue: queueInterval{Backpressure: 900 * ms, Listener: disk, Writes: Disk{Writes: 3, Time: 360 * ms}},
			want: CauseDisk, text: "the stream was full for 900ms of 1s; storer (pid 7) has 9000 frames unread, 4 blocks in flight, a write takes 120ms"},
		"a storer that computes": {queue: queueInterval{Backpressure: 900 * ms, Listener: Listener{Name: "storer", Disk: &Disk{}}, Writes: Disk{Writes: 3, Time: ms}},
			want: CauseBackpressure},
		"stopped": {queue: queueInterval{Gaps: map[Cause]time.Duration{CauseStopped: 300 * ms, CauseBlocked: ms}},
			want: CauseStopped, text: "not polled for 300ms of 1s"},
		"stolen": {in: interval{Stolen: 800 * ms}, queue: queueInterval{Gaps: map[Cause]time.Duration{CauseStolen: 300 * ms}},
			want: CauseStolen, text: "not polled for 300ms of 1s, 800ms stolen by the hypervisor"},
		"collection": {queue: queueInterval{Gaps: map[Cause]time.Duration{CauseCollection: 5 * ms}}, want: CauseCollection},
		"much stolen in short pieces": {queue: queueInterval{Frames: 100_000, Busy: 300 * ms, Absent: 500 * ms, Gaps: map[Cause]time.Duration{CauseStolen: 2 * ms}},
			want: CauseOverload},
		"paused":         {queue: queueInterval{Gaps: map[Cause]time.Duration{CausePaused: 5 * ms}}, want: CausePaused, text: "not polled for 5ms of 1s"},
		"a burst":        {queue: queueInterval{Frames: 1_000_000, Busy: 2 * ms, Waited: 50 * time.Microsecond}, want: CauseOverload},
		"nothing to see": {queue: queueInterval{Frames: 1_000_000, Waited: 50 * time.Microsecond}, want: CauseUnknown},
		"nothing polled": {want: CauseUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			c.in.Over, c.in.Missed, c.in.Queues = time.Second, 1_000_000, []queueInterval{c.queue}
			queue, cause, evidence := c.in.judge()
			require.Zero(t, queue)
			require.Equal(t, c.want, cause)
			l := Loss{Frames: c.in.Missed, Cause: cause, Over: c.in.Over, Evidence: evidence}
			require.Contains(t, l.evidence(), c.text)
		})
	}
}

func TestOfSeveralPollersTheOneInTroubleIsJudged(t *testing.T) {
	i := interval{Over: time.Second, Missed: 10, Queues: []queueInterval{
		{Frames: 1000, Waited: ms}, {Frames: 1000, Backpressure: 500 * ms, Listener: Listener{Name: "tardy"}}, {Frames: 1000},
	}}
	queue, cause, e := i.judge()
	require.Equal(t, 1, queue)
	require.Equal(t, CauseBackpressure, cause)
	require.Equal(t, "tardy", e.Listener)
}

func TestLossesAreAddedUpByCause(t *testing.T) {
	r := newReports()
	for _, l := range []Loss{{Frames: 5, Cause: CauseQuota}, {Frames: 9, Cause: CauseOverload, Queue: 1}, {Frames: 7, Cause: CauseQuota, Queue: 2}, {Frames: 6, Cause: CauseQuota}} {
		r.losses.add(l)
	}
	all := r.Losses(27)
	require.Len(t, all, 2)
	require.Equal(t, CauseQuota, all[0].Cause)
	require.EqualValues(t, 18, all[0].Frames)
	require.EqualValues(t, 3, all[0].Intervals)
	require.Equal(t, 2, all[0].Worst.Queue)
	require.NotEmpty(t, all[0].Text())
	require.Empty(t, r.Losses(30)[2].Text())
}

func TestStolenTimeOfTheFirstLine(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"cpu  1 2 3 4 5 6 7 89 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n": 890 * ms, "": 0, "cpu 1 2": 0, "x  1 2 3 4 5 6 7 8 9": 0, "cpu 1 2 3 4 5 6 7 x": 0,
	} {
		require.Equal(t, want, stolenTime(text), text)
	}
	now := readMachine("/")
	before := now
	now.suspended += time.Minute
	_, _, suspended := now.since(&before)
	require.Equal(t, time.Minute, suspended)
	now.suspended = before.suspended + ms
	_, _, suspended = now.since(&before)
	require.Zero(t, suspended)
}

// A limit that is set, or a group that is joined, while the capture runs.
func TestANewQuotaIsCountedFromItsBeginning(t *testing.T) {
	before := machineState{quotas: []topology.Quota{{Group: "/", File: "cpu.max", Throttled: 9 * time.Second, Periods: 90}}}
	now := machineState{quotas: []topology.Quota{
		{Group: "/x", File: "cpu.max", Time: ms, Period: 10 * ms, Throttled: 40 * ms, Periods: 4},
		{Group: "/", File: "cpu.max", Throttled: 9*time.Second + 30*ms, Periods: 93},
	}}
	throttled, _, _ := now.since(&before)
	require.Equal(t, Throttling{Quota: "control group /x: 1ms of CPU time in each 10ms (cpu.max)", Throttled: 40 * ms, Periods: 4, file: "cpu.max"}, throttled)
}

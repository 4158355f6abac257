package sched

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/internal/logtest"
)

// reports is a Reporter of one queue, with the log of each report.
type reports struct {
	*Reporter
	log     logtest.Recorder
	monitor *Monitor
	machine machineState
	queue   Queue
	missed  uint64
}

var began = time.Unix(1_000_000, 0)

func newReports() *reports {
	r := &reports{monitor: NewMonitor(Config{Core: 3})}
	r.Reporter = NewReporter(r.log.Logger())
	r.Reporter.machine = func() machineState { return r.machine }
	r.queue.Monitor = r.monitor
	r.Begin(began)
	return r
}

// report reports after a time from the beginning, and returns what was logged.
func (r *reports) report(at time.Duration, final bool) []string {
	r.Report([]Queue{r.queue}, r.missed, began.Add(at), final)
	return r.log.Take()
}

func TestReporterLogsEachCauseOnceAMinute(t *testing.T) {
	r := newReports()
	require.Empty(t, r.report(0, false))
	gap := Gap{
		Length: 8_312_345, Excessive: true, Cause: CausePreempted, Rate: 14_880_952, FrameSize: 60, Capacity: 825_806,
		End: time.Date(2020, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
	}
	r.monitor.log.put(&gap)
	r.monitor.log.put(gapOf(ms, false))
	r.missed = 77
	require.Equal(t, []string{"1 poll gap exceeded the NIC buffer (longest 8.31ms, capacity 826µs): core preempted: " +
		"the poller was runnable and had no core for 8.31ms of 1s; 77 frames missed, rate 14.9 Mpps, mean frame 60 bytes, end 03:04:05.678901. " +
		"Keep core 3 free of other threads (isolcpus=3, or SCHED_FIFO): docs/SCHEDULING.md queue=0"}, r.report(time.Second, false))
	r.monitor.log.put(&gap)
	require.Empty(t, r.report(2*time.Second, false), "the same again")
	outside := gap
	outside.Cause = CauseOutside
	r.monitor.log.put(&outside)
	require.Len(t, r.report(3*time.Second, false), 1, "another cause")
	longer := gap
	longer.Length *= 2
	r.monitor.log.put(&longer)
	require.Empty(t, r.report(4*time.Second, false))
	require.Contains(t, strings.Join(r.report(62*time.Second, false), "\n"), "2 poll gaps exceeded the NIC buffer (longest 16.6ms, capacity 826µs)")
	r.monitor.log.put(&gap)
	require.Len(t, r.report(63*time.Second, true), 1, "the last report logs what is pending")
}

// A short gap beside a loss that it does not explain must not look like the reason.
func TestOverloadIsNotReportedAsAGap(t *testing.T) {
	r := newReports()
	r.monitor.log.put(&Gap{Length: 1_100_000, Waited: 1_100_000, Excessive: true, Cause: CausePreempted, Capacity: 825_806, End: began})
	r.missed = 5_769_458
	r.queue.Load = Load{Frames: 9_100_000, Busy: 990 * ms}
	require.Equal(t, []string{"5769458 frames missed by the NIC: overload: poller busy 99 %, 14.9 Mpps offered, 9.1 Mpps processed (110 ns a frame). " +
		"Use more queues (queues), fewer or simpler rules, or a smaller snaplen: docs/SCHEDULING.md queue=0"}, r.report(time.Second, false))
	require.Empty(t, r.report(2*time.Minute, true), "the gap is only in the ledger")
	losses := r.Losses(r.missed + 3)
	require.Len(t, losses, 2)
	require.Equal(t, CauseOverload, losses[0].Cause)
	require.Equal(t, r.missed, losses[0].Frames)
	require.Equal(t, LossCause{Cause: CausePending, Frames: 3}, losses[1])
}

// The counters show a loss before a gap that has not ended.
func TestALossWaitsForTheGapThatExplainsIt(t *testing.T) {
	r := newReports()
	r.missed = 100
	require.Empty(t, r.report(time.Second, false))
	require.Equal(t, []LossCause{{Cause: CausePending, Frames: 100}}, r.Losses(100))
	r.missed = 150
	r.monitor.log.put(&Gap{Length: 1500 * ms, Excessive: true, Cause: CauseStopped, End: began.Add(2 * time.Second)})
	require.Len(t, r.report(2*time.Second, false), 1)
	losses := r.Losses(150)
	require.Len(t, losses, 1)
	require.Equal(t, CauseStopped, losses[0].Cause)
	require.EqualValues(t, 150, losses[0].Frames)

	r.missed = 151
	require.Empty(t, r.report(3*time.Second, false))
	require.Contains(t, strings.Join(r.report(4*time.Second, false), ""), "1 frame missed by the NIC: unknown: no gap, no backpressure, poller busy 0 %")
	r.missed = 152
	r.report(5*time.Second, true)
	require.Len(t, r.Losses(152), 2, "the last report judges what is left")
}

func TestAThrottledGroupIsNamed(t *testing.T) {
	r := newReports()
	quota := topology.Quota{Group: "/x", File: "cpu.max", Time: 50 * ms, Period: 100 * ms, Throttled: time.Second, Periods: 40}
	above := topology.Quota{Group: "/", File: "cpu.max", Time: time.Second, Period: 100 * ms}
	r.machine.quotas = []topology.Quota{quota, above}
	r.Begin(began)
	quota.Throttled += 93 * ms
	quota.Periods += 2
	r.machine.quotas = []topology.Quota{quota, above}
	r.monitor.log.put(&Gap{Length: 48 * ms, Waited: 48 * ms, Excessive: true, Cause: CausePreempted, Capacity: ms, End: began})
	r.missed = 12
	said := r.report(time.Second, false)
	require.Len(t, said, 1)
	require.Contains(t, said[0], "CPU quota of a control group: control group /x: 50ms of CPU time in each 100ms (cpu.max), throttled for 93ms in 2 periods; the poller had no core for 48ms of 1s; ")
	require.Contains(t, said[0], "12 frames missed")
	require.Contains(t, said[0], "Raise or remove the limit (cpu.max, in systemd CPUQuota=)")
	require.Equal(t, CauseQuota, r.Losses(12)[0].Cause)
}

// The report of an interval may run before the poller, on another core, ends the gap that
// the throttling of that interval made: also the last one of a capture.
func TestAGapAcrossTwoReportsIsJudgedByTheQuotaOfBoth(t *testing.T) {
	for name, end := range map[string]struct {
		began time.Duration // of the gap
		final bool
		want  string
	}{
		"the last gap":         {950 * ms, true, "CPU quota of a control group: control group /x: 20ms of CPU time in each 100ms (cpu.cfs_quota_us), throttled for 470ms in 5 periods; the poller had no core for 94ms of 94.1ms; 0 frames missed"},
		"one of many":          {950 * ms, false, "Raise or remove the limit (cpu.cfs_quota_us, in systemd CPUQuota=)"},
		"begun after a report": {1010 * ms, true, "core preempted: the poller was runnable and had no core for 94ms of 94.1ms; 0 frames missed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReports()
			quota := topology.Quota{Group: "/x", File: "cpu.cfs_quota_us", Time: 20 * ms, Period: 100 * ms}
			r.machine = machineState{at: began, quotas: []topology.Quota{quota}}
			r.Begin(began)
			quota.Throttled, quota.Periods = 470*ms, 5
			r.machine = machineState{at: began.Add(1001 * ms), quotas: []topology.Quota{quota}}
			require.Empty(t, r.report(time.Second, false))
			gap := Gap{Length: 94_100_000, Waited: 94 * ms, Excessive: true, Cause: CausePreempted, Capacity: ms}
			gap.End = began.Add(end.began + gap.Length)
			r.monitor.log.put(&gap)
			r.machine.at = gap.End.Add(ms)
			require.Contains(t, strings.Join(r.report(end.began+100*ms, end.final), "\n"), end.want)
			worst, _ := r.monitor.Worst()
			require.Equal(t, worst[0].Cause == CauseQuota, worst[0].Periods == 5, "the ledger's gap has its evidence")
		})
	}
}

// A loss in such a gap has the evidence of the throttling, too.
func TestALossAcrossTwoReportsHasTheThrottlingOfBoth(t *testing.T) {
	r := newReports()
	quota := topology.Quota{Group: "/x", File: "cpu.max", Time: 20 * ms, Period: 100 * ms}
	r.machine = machineState{at: began, quotas: []topology.Quota{quota}}
	r.Begin(began)
	quota.Throttled, quota.Periods = 470*ms, 5
	r.machine = machineState{at: began.Add(1001 * ms), quotas: []topology.Quota{quota}}
	require.Empty(t, r.report(time.Second, false))
	r.monitor.log.put(&Gap{End: began.Add(1044 * ms), Length: 94 * ms, Waited: 94 * ms, Excessive: true, Cause: CausePreempted, Capacity: ms})
	r.missed = 9
	said := strings.Join(r.report(1100*ms, true), "\n")
	require.Contains(t, said, "(cpu.max), throttled for 470ms in 5 periods; the poller had no core for 94ms of 100ms; 9 frames missed")
	require.Equal(t, CauseQuota, r.Losses(9)[0].Cause)
	require.EqualValues(t, 5, r.Losses(9)[0].Worst.Periods)
}

// The longest gap and the most lost frames of a minute may be of different listeners.
func TestAWarningOfBackpressureNamesOneListener(t *testing.T) {
	r := newReports()
	blocked := func(length time.Duration, at time.Duration, holder Listener) []string {
		r.queue.Holder = holder
		r.queue.Load.Backpressure += length
		r.monitor.log.put(&Gap{End: began.Add(at), Length: length, Backpressure: length, Excessive: true, Cause: CauseBackpressure, Capacity: ms})
		return r.report(at, false)
	}
	slow, storer := Listener{ID: 1, Name: "slow", PID: 32150, Unread: 1387}, Listener{ID: 2, Name: "storer", PID: 7, Unread: 40}
	require.Contains(t, strings.Join(blocked(900*ms, time.Second, storer), ""), ": the stream was full for 900ms of 900ms; storer (pid 7) held it; 0 frames missed")
	require.Empty(t, blocked(999*ms, 2*time.Second, storer))
	r.missed = 5
	require.Empty(t, blocked(996*ms, 3*time.Second, slow))
	said := strings.Join(r.report(62*time.Second, false), "\n")
	require.Contains(t, said, "2 poll gaps exceeded the NIC buffer (longest 999ms, capacity 1ms): backpressure of a lossless listener: the stream was full for 996ms of 1s; slow (pid 32150) has 1387 frames unread; 5 frames missed")
	require.NotContains(t, said, "storer")
	worst, _ := r.monitor.Worst()
	require.Equal(t, []string{"storer", "slow", "storer"}, []string{worst[0].Listener, worst[1].Listener, worst[2].Listener})
}

// The counters of another listener's disks are no beginning of this one's.
func TestTheWritesOfAnIntervalAreThoseOfOneListener(t *testing.T) {
	r := newReports()
	for at, c := range []struct {
		holder Listener
		want   Cause
	}{
		{Listener{ID: 1, Name: "a", Disk: &Disk{Writes: 900, Time: time.Hour}}, CauseBackpressure},
		{Listener{ID: 1, Name: "a", Disk: &Disk{Writes: 902, Time: time.Hour + 800*ms}}, CauseDisk},
		{Listener{ID: 2, Name: "b", Disk: &Disk{Writes: 5, Time: time.Minute}}, CauseBackpressure},
	} {
		r.queue.Holder = c.holder
		r.queue.Load.Backpressure += 900 * ms
		r.missed++
		r.report(time.Duration(at+1)*time.Second, false)
		found := false
		for _, l := range r.Losses(r.missed) {
			found = found || l.Cause == c.want && l.Worst.Listener == c.holder.Name || l.Cause == c.want && l.Intervals == 2
		}
		require.True(t, found, "%d: %+v", at, r.Losses(r.missed))
	}
}

func TestEveryCauseHasARemedy(t *testing.T) {
	for _, cause := range causes {
		for _, core := range []int{AnyCore, 2} {
			require.NotEmpty(t, cause.remedy(core, ""))
		}
	}
	require.Contains(t, CauseThrottled.remedy(2, ""), "sched_rt_runtime_us")
	require.Contains(t, CauseThrottled.remedy(2, ""), "fair_server/cpu2/")
	require.NotContains(t, CauseThrottled.remedy(AnyCore, ""), "fair_server")
}

func TestWarnFIFONamesSettingsThatStopAPoller(t *testing.T) {
	var log logtest.Recorder
	logger := log.Logger()
	on := topology.RealTime{Known: true, Runtime: 950 * ms, Period: time.Second}
	off := topology.RealTime{Known: true, Runtime: -1}
	pinned, floating := []topology.Choice{{Core: 1}}, []topology.Choice{{Core: AnyCore}}
	WarnFIFO(logger, 0, floating, on)
	WarnFIFO(logger, 50, pinned, off)
	require.Empty(t, log.Lines())
	WarnFIFO(logger, 50, pinned, on)
	require.Equal(t, []string{"real-time throttling stops SCHED_FIFO pollers for 50ms in each 1s. Remove the limit: " + topology.ThrottlingFix}, log.Take())
	WarnFIFO(logger, 50, floating, off)
	said := log.Take()
	require.Len(t, said, 1)
	require.Contains(t, said[0], "the SCHED_FIFO poller is not pinned to a core")
}

package sched

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/internal/logtest"
)

func TestReporterLogsEachCauseOnceAMinute(t *testing.T) {
	var log logtest.Recorder
	r := NewReporter(log.Logger())
	m := NewMonitor(Config{Core: 3})
	report := func(missed uint64, at time.Duration, final bool) []string {
		r.Report([]Queue{{Monitor: m}}, missed, time.Unix(1_000_000, 0).Add(at), final)
		return log.Take()
	}
	require.Empty(t, report(0, 0, false))
	gap := Gap{
		Length: 8_312_345, Excessive: true, Cause: CausePreempted, Rate: 14_880_952, FrameSize: 60, Capacity: 825_806,
		End: time.Date(2020, 1, 2, 3, 4, 5, 678_901_000, time.UTC),
	}
	m.log.put(&gap)
	m.log.put(gapOf(ms, false))
	require.Equal(t, []string{"1 poll gap exceeded the NIC buffer (longest 8.31ms, capacity 826µs): core preempted; 77 frames missed, " +
		"rate 14.9 Mpps, mean frame 60 bytes, end 03:04:05.678901. Keep core 3 free of other threads (isolcpus=3, or SCHED_FIFO): docs/SCHEDULING.md queue=0"}, report(77, time.Second, false))
	m.log.put(&gap)
	require.Empty(t, report(77, 2*time.Second, false), "the same again")
	outside := gap
	outside.Cause = CauseOutside
	m.log.put(&outside)
	require.Len(t, report(77, 3*time.Second, false), 1, "another cause")
	longer := gap
	longer.Length *= 2
	m.log.put(&longer)
	require.Empty(t, report(77, 4*time.Second, false))
	require.Contains(t, strings.Join(report(77, 62*time.Second, false), "\n"), "2 poll gaps exceeded the NIC buffer (longest 16.6ms, capacity 826µs)")
	m.log.put(&gap)
	require.Len(t, report(77, 63*time.Second, true), 1, "the last report logs what is pending")
}

func TestEveryCauseHasARemedy(t *testing.T) {
	for _, cause := range causes {
		for _, core := range []int{AnyCore, 2} {
			require.NotEmpty(t, (&Gap{Cause: cause}).remedy(core))
		}
	}
	require.Contains(t, (&Gap{Cause: CauseThrottled}).remedy(2), "sched_rt_runtime_us")
	require.Contains(t, (&Gap{Cause: CauseThrottled}).remedy(2), "fair_server/cpu2/")
	require.NotContains(t, (&Gap{Cause: CauseThrottled}).remedy(AnyCore), "fair_server")
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

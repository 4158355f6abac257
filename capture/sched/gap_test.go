package sched

import (
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

func TestAGapIsExcessiveWhenItExceedsTheCapacity(t *testing.T) {
	const kib512 = 512 << 10
	for _, c := range []struct {
		name                string
		length              time.Duration
		accumulated         uint64
		frames, bytes, ns   uint64
		descriptors, buffer uint64
		capacity            time.Duration
		excessive           bool
	}{
		{"line rate of 60 B", 1 * ms, 0, 148_800, 148_800 * 60, 10e6, 4096, kib512, 825_806, true},
		{"line rate of 60 B, shorter", 800 * time.Microsecond, 0, 148_800, 148_800 * 60, 10e6, 4096, kib512, 825_806, false},
		{"without the packet buffer", 800 * time.Microsecond, 0, 148_800, 148_800 * 60, 10e6, 4096, 0, 275_268, true},
		{"line rate of 1514 B has a higher capacity", 5 * ms, 0, 8_127, 8_127 * 1514, 10e6, 4096, kib512, 5_464_501, false},
		{"a tenth of the rate", 5 * ms, 0, 14_880, 14_880 * 60, 10e6, 4096, kib512, 8_258_064, false},
		{"a burst in the gap fills the ring", 9 * ms, 12_288, 12_288, 12_288 * 60, 90e6, 4096, kib512, 90 * ms, true},
		{"a burst faster than the line rate", 800 * time.Microsecond, 12_288, 12_288, 12_288 * 60, 90e6, 4096, kib512, 90 * ms, false},
		{"nothing arrived", 90 * ms, 0, 0, 0, 100e6, 4096, kib512, 0, false},
		{"a ring of unknown size", 90 * ms, 64, 1000, 60_000, 100e6, 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Gap{Length: c.length, Frames: c.accumulated}
			s.assess(c.frames, c.bytes, c.ns, &Limits{LineRate: 10e9, Descriptors: c.descriptors, PacketBuffer: c.buffer, BufferStep: 16})
			require.InEpsilon(t, c.capacity+1, s.Capacity+1, 1e-3)
			require.Equal(t, c.excessive, s.Excessive)
		})
	}
}

func TestTheRateBeforeTheGapCountsIfItWasHigher(t *testing.T) {
	s := Gap{Length: 50 * ms, Rate: 14_880_000}
	s.assess(12_000, 720_000, 60e6, &Limits{LineRate: 10e9, Descriptors: 4096, PacketBuffer: 512 << 10, BufferStep: 16}) // only the contents of ring and buffer
	require.InEpsilon(t, 825_806, s.Capacity, 1e-3)
}

func TestTheCauseAccountsForMostOfTheGap(t *testing.T) {
	timed, untimed := usage{counted: true, timed: true}, usage{counted: true}
	for _, c := range []struct {
		name  string
		gap   Gap
		usage usage
		fifo  bool
		want  Cause
	}{
		{"core taken", Gap{Waited: 6 * ms, Preempted: 1}, timed, false, CausePreempted},
		{"core taken from a real-time thread", Gap{Waited: 6 * ms, Preempted: 1}, timed, true, CauseThrottled},
		{"core yielded, and not regained", Gap{Waited: 6 * ms, Blocked: 2}, timed, false, CauseWoken},
		{"core taken for the lesser part", Gap{Waited: 4 * ms, Preempted: 1}, timed, false, CauseOutside},
		{"backpressure", Gap{Backpressure: 6 * ms, Waited: 6 * ms, Blocked: 9}, timed, false, CauseBackpressure},
		{"backpressure for the lesser part", Gap{Backpressure: 4 * ms, Blocked: 1}, timed, false, CauseBlocked},
		{"paused", Gap{Paused: 9 * ms, Blocked: 1}, timed, false, CausePaused},
		{"blocked", Gap{Blocked: 1}, timed, false, CauseBlocked},
		{"no counter changed", Gap{}, timed, false, CauseOutside},
		{"a kernel that does not measure waiting", Gap{Preempted: 1}, untimed, false, CausePreempted},
		{"a kernel without counters", Gap{}, usage{}, false, CauseUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.gap.Length = 10 * ms
			require.Equal(t, c.want, c.gap.cause(c.usage, c.fifo))
			require.Contains(t, causes[:], c.want, "reported")
		})
	}
}

func TestAGarbageCollectionDuringAGapIsTheCause(t *testing.T) {
	at := time.Now()
	gc := &debug.GCStats{
		PauseEnd: []time.Time{at.Add(-ms), at.Add(-time.Minute)},
		Pause:    []time.Duration{ms / 2, ms / 2},
	}
	c := circumstances{gc: gc, holder: Listener{Name: "slow", PID: 7}}
	for _, g := range []struct {
		gap  Gap
		want Cause
	}{
		{Gap{End: at, Length: 2 * ms, Cause: CauseBlocked}, CauseCollection},
		{Gap{End: at, Length: ms / 2, Cause: CauseBlocked}, CauseBlocked},
		{Gap{End: at.Add(-59 * time.Second), Length: 2 * ms, Cause: CauseBlocked}, CauseBlocked},
		{Gap{End: at, Length: 2 * ms, Cause: CausePreempted}, CausePreempted},
	} {
		g.gap.explain(&c)
		require.Equal(t, g.want, g.gap.Cause)
		require.Empty(t, g.gap.Listener)
	}
	blocked := Gap{End: at, Length: 2 * ms, Cause: CauseBackpressure}
	blocked.explain(&c)
	require.Equal(t, "slow", blocked.Listener)
	require.Equal(t, 7, blocked.PID)
}

func TestTheCircumstancesOfAGapRefineItsCause(t *testing.T) {
	at := time.Now()
	throttled := Throttling{Throttled: 93 * ms, Periods: 3}
	for name, c := range map[string]struct {
		gap  Gap
		of   circumstances
		want Cause
	}{
		"quota":                         {Gap{Cause: CausePreempted, Waited: 80 * ms}, circumstances{throttled: throttled}, CauseQuota},
		"quota after sleep":             {Gap{Cause: CauseWoken, Waited: 80 * ms}, circumstances{throttled: throttled}, CauseQuota},
		"throttled for less":            {Gap{Cause: CausePreempted, Waited: 200 * ms}, circumstances{throttled: throttled}, CausePreempted},
		"quota, wait not counted":       {Gap{Cause: CauseOutside}, circumstances{throttled: throttled}, CauseQuota},
		"an outside gap that is longer": {Gap{Cause: CauseOutside}, circumstances{throttled: Throttling{Throttled: 40 * ms, Periods: 1}}, CauseOutside},
		"stolen under a quota":          {Gap{Cause: CauseOutside}, circumstances{stolen: 60 * ms, throttled: throttled}, CauseStolen},
		"disk":                          {Gap{Cause: CauseBackpressure}, circumstances{holder: Listener{Name: "storer"}, disk: true}, CauseDisk},
		"stolen":                        {Gap{Cause: CauseOutside}, circumstances{stolen: 60 * ms}, CauseStolen},
		"stolen for the lesser part":    {Gap{Cause: CauseOutside}, circumstances{stolen: 40 * ms}, CauseOutside},
		"SIGCONT at its end":            {Gap{Cause: CauseBlocked}, circumstances{continued: []time.Time{at.Add(-time.Hour), at.Add(3 * ms)}}, CauseStopped},
		"SIGCONT, then waited":          {Gap{Cause: CauseWoken, Waited: 20 * ms}, circumstances{continued: []time.Time{at}}, CauseStopped},
		"SIGCONT within it":             {Gap{Cause: CauseBlocked}, circumstances{continued: []time.Time{at.Add(-60 * ms)}}, CauseStopped},
		"SIGCONT at another time":       {Gap{Cause: CauseBlocked}, circumstances{continued: []time.Time{at.Add(-time.Second)}}, CauseBlocked},
		"SIGCONT of a thread that naps": {Gap{Cause: CausePaused, Paused: 99 * ms}, circumstances{continued: []time.Time{at}}, CauseStopped},
		"SIGCONT of a preempted thread": {Gap{Cause: CausePreempted, Waited: 90 * ms}, circumstances{continued: []time.Time{at}}, CausePreempted},
		"suspended":                     {Gap{Cause: CauseOutside}, circumstances{suspended: 120 * ms}, CauseStopped},
	} {
		c.gap.End, c.gap.Length, c.of.gc = at, 100*ms, &debug.GCStats{}
		c.gap.explain(&c.of)
		require.Equal(t, c.want, c.gap.Cause, name)
	}
}

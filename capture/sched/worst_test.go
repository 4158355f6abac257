package sched

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func gapOf(length time.Duration, excessive bool) *Gap {
	return &Gap{Length: length, Excessive: excessive, Cause: CausePreempted, End: time.Now()}
}

func lengths(gaps []Gap) (all []time.Duration) {
	for _, s := range gaps {
		all = append(all, s.Length)
	}
	return all
}

func TestTheLogKeepsTheWorstGaps(t *testing.T) {
	var b gapLog
	for _, n := range []time.Duration{5, 3, 9, 1, 7, 2, 8, 4, 6, 10} {
		b.put(gapOf(n, n == 2 || n == 4))
	}
	worst, excessive := b.read()
	require.EqualValues(t, 2, excessive)
	require.Equal(t, []time.Duration{4, 2, 10, 9, 8, 7, 6, 5}, lengths(worst), "excessive ones first, then the longest")
	seen := 0
	fresh, lost := b.take(func(s *Gap) { seen++ })
	require.Equal(t, []time.Duration{2, 4}, lengths(fresh))
	require.Equal(t, 8+2, seen)
	require.Equal(t, time.Duration(2+4), lost.excessive[CausePreempted.index()])
	fresh, _ = b.take(func(s *Gap) { t.Error("explained twice") })
	require.Empty(t, fresh)
}

func TestTheLogDoesNotBlockThePoller(t *testing.T) {
	var b gapLog
	b.mu.Lock()
	for i := range len(b.pending) + 3 {
		b.put(gapOf(time.Duration(i+1), true))
	}
	b.retry()
	b.mu.Unlock()
	_, excessive := b.read()
	require.Zero(t, excessive)
	b.retry()
	worst, excessive := b.read()
	require.Len(t, worst, len(b.pending))
	require.EqualValues(t, len(b.pending)+3, excessive, "gaps without room are counted")
	b.mu.Lock()
	b.put(gapOf(1, false))
	b.mu.Unlock()
	b.close()
	worst, _ = b.read()
	require.Len(t, worst, len(b.pending)+1)
}

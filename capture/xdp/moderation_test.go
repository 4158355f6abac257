package xdp

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPauseNeverOverfillsTheRing(t *testing.T) {
	for _, entries := range []int{minRing, 1024, defaultRing, maxRing} {
		for mode, fastest := range map[Mode]float64{Copy: fastestCopy, Generic: fastestCopy, ZeroCopy: fastestWire} {
			m := newModeration(entries, mode, true)
			taken := uint32(1<<32 - 100) // it wraps
			for range 20 {
				taken++
				m.next(taken)
			}
			require.Equal(t, m.most, m.length, "few frames: the longest pause")
			require.LessOrEqual(t, m.length.Seconds()*fastest, float64(entries)/2)
			for range 20 {
				taken += m.many + 1
				require.True(t, m.next(taken))
			}
			require.Equal(t, min(shortestPause, m.most), m.length, "many frames: the shortest")
		}
	}
}

func TestAnIdlePollerWaitsForTheFirstFrame(t *testing.T) {
	m := newModeration(defaultRing, Copy, true)
	require.True(t, m.next(1))
	require.False(t, m.next(1))
	require.Less(t, m.length, 5*time.Millisecond)
	require.LessOrEqual(t, newModeration(defaultRing, Copy, false).most, shortestPause)
}

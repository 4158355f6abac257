package sched

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistogramCountsGapsByLength(t *testing.T) {
	var h Histogram
	for _, ns := range []uint64{0, 1, 2, 3, 4, 1000, 1 << 50} {
		h.Observe(ns)
	}
	h.Publish()
	all, longest := h.Read()
	require.Equal(t, time.Duration(1<<50), longest)
	count := map[time.Duration]uint64{}
	for _, b := range all {
		if b.Count != 0 {
			count[b.Below] = b.Count
		}
	}
	require.Equal(t, map[time.Duration]uint64{1: 1, 2: 1, 4: 2, 8: 1, 1024: 1, 1 << 40: 1}, count)
}

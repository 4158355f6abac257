package capture

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
)

// BenchmarkDedupRatio compares a capture that seeks duplicates, where there are none,
// with one that does not, in turns: ring by ring. Its ratio is the median of those of
// successive rings, which other load on the machine changes less than either time.
func BenchmarkDedupRatio(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			table, err := dedup.New(dedup.Config{})
			require.NoError(b, err)
			plain := distinctFrames(b, size, pollerConfig{Core: AnyCore})
			seeking := distinctFrames(b, size, pollerConfig{Core: AnyCore, Dedup: table})
			var times median
			var ratios []float64
			for left := b.N; left > 0; left -= ringSize {
				without, with := plain(), seeking()
				ratios = append(ratios, float64(with)/float64(without))
				times.add(with, ringSize-1)
			}
			require.Zero(b, table.Stats().Duplicates)
			slices.Sort(ratios)
			times.report(b)
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
		})
	}
}

// distinctFrames returns a function that fills a ring with frames that differ, and
// returns the time in which a poller with these settings captures them.
func distinctFrames(b *testing.B, size int, cfg pollerConfig) func() time.Duration {
	const full = ringSize - 1
	r, p := benchPollerAs(b, clock.PerPacket, cfg)
	seed := uint64(0)
	return func() time.Duration {
		require.Equal(b, full, r.Fill(full, size))
		for i := range full {
			seed++
			binary.LittleEndian.PutUint64(r.Buffer((r.Head() - full + i + 2*ringSize) % ringSize)[44:], seed)
		}
		start := time.Now()
		for got := 0; got < full; {
			got += p.poll()
		}
		return time.Since(start)
	}
}

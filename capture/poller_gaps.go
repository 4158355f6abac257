package capture

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// gapBuckets is enough for gaps of up to 2^40 ns, 18 minutes.
const gapBuckets = 41

// gaps is a histogram of the times between two polls of a queue: how long the
// descriptor ring had to hold what arrived. Bucket i counts gaps below 2^i ns
// that the bucket before does not. One goroutine counts and flushes, any may read
// what was flushed.
type gaps struct {
	counts  [gapBuckets]uint64
	dirty   uint64 // bit i: counts[i] is not flushed
	maximum uint64 // ns

	_       [64]byte // what others read, on lines of its own
	bucket  [gapBuckets]atomic.Uint64
	longest atomic.Uint64 // ns
}

func (g *gaps) count(ns uint64) {
	b := min(bits.Len64(ns), gapBuckets-1)
	g.counts[b]++
	g.dirty |= 1 << b
	g.maximum = max(g.maximum, ns)
}

func (g *gaps) flush() {
	for ; g.dirty != 0; g.dirty &= g.dirty - 1 {
		b := bits.TrailingZeros64(g.dirty)
		g.bucket[b].Store(g.counts[b])
	}
	if g.maximum != g.longest.Load() {
		g.longest.Store(g.maximum)
	}
}

// Gap is one bucket of a histogram: Count gaps shorter than Below that are not
// shorter than half of it.
type Gap struct {
	Below time.Duration `json:"below"`
	Count uint64        `json:"count"`
}

// read returns the buckets up to the last one in use, and the longest gap.
func (g *gaps) read() ([]Gap, time.Duration) {
	var all []Gap
	used := 0
	for i := range g.bucket {
		n := g.bucket[i].Load()
		all = append(all, Gap{Below: 1 << i, Count: n})
		if n != 0 {
			used = i + 1
		}
	}
	return all[:used], time.Duration(g.longest.Load())
}

package store

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const latencyBuckets = 24

// Latency is the distribution of the durations of writes. Counts[i] is the number
// of writes from Bound(i-1) to less than Bound(i); the last one counts all longer
// ones.
type Latency struct {
	Counts  [latencyBuckets]uint64
	Count   uint64
	Sum     time.Duration
	Longest time.Duration
}

// Bound is the upper bound of bucket i: 1 us, 2 us, 4 us and so on.
func (Latency) Bound(i int) time.Duration { return time.Microsecond << i }

func (l *Latency) add(o *Latency) {
	for i, n := range o.Counts {
		l.Counts[i] += n
	}
	l.Count += o.Count
	l.Sum += o.Sum
	l.Longest = max(l.Longest, o.Longest)
}

// latency counts durations. Any goroutine may use it.
type latency struct {
	counts       [latencyBuckets]atomic.Uint64
	sum, longest atomic.Int64
}

func (l *latency) add(d time.Duration) {
	i := min(bits.Len64(uint64(d/time.Microsecond)), latencyBuckets-1)
	l.counts[i].Add(1)
	l.sum.Add(int64(d))
	for {
		old := l.longest.Load()
		if int64(d) <= old || l.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func (l *latency) read() (out Latency) {
	for i := range l.counts {
		out.Counts[i] = l.counts[i].Load()
		out.Count += out.Counts[i]
	}
	out.Sum, out.Longest = time.Duration(l.sum.Load()), time.Duration(l.longest.Load())
	return out
}

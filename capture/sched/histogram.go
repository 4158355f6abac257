package sched

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// buckets is enough for gaps of up to 2^40 ns, 18 minutes.
const buckets = 41

// Histogram counts gaps by length. Bucket i counts gaps of 2^(i-1) ns to less than
// 2^i ns. One goroutine calls Observe and Publish; any may call Read.
type Histogram struct {
	counts  [buckets]uint64
	dirty   uint64 // bit i: counts[i] is not published
	maximum uint64 // ns

	_       [64]byte // published values have cache lines of their own
	bucket  [buckets]atomic.Uint64
	longest atomic.Uint64 // ns
}

// Observe counts a gap of so many ns.
func (h *Histogram) Observe(ns uint64) {
	b := min(bits.Len64(ns), buckets-1)
	h.counts[b]++
	h.dirty |= 1 << b
	h.maximum = max(h.maximum, ns)
}

// Publish makes the counts visible to Read.
func (h *Histogram) Publish() {
	for ; h.dirty != 0; h.dirty &= h.dirty - 1 {
		b := bits.TrailingZeros64(h.dirty)
		h.bucket[b].Store(h.counts[b])
	}
	if h.maximum != h.longest.Load() {
		h.longest.Store(h.maximum)
	}
}

// Bucket is one bucket of a histogram: the number of gaps shorter than Below and
// not shorter than half of it.
type Bucket struct {
	Below time.Duration `json:"below_ns"`
	Count uint64        `json:"count"`
}

// Read returns the published buckets up to the last one that is not empty, and the
// longest gap.
func (h *Histogram) Read() ([]Bucket, time.Duration) {
	var all []Bucket
	used := 0
	for i := range h.bucket {
		n := h.bucket[i].Load()
		all = append(all, Bucket{Below: 1 << i, Count: n})
		if n != 0 {
			used = i + 1
		}
	}
	return all[:used], time.Duration(h.longest.Load())
}

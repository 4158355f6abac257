package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/ixcap/ixcap/sim"
)

// seen is what a capture says about one frame.
type seen struct {
	stamp  int64 // ns since 1970
	digest uint32
	len    uint32 // bytes
}

// match holds the frames of a stream against those that the model wrote to the
// host: every one of them, in that order, and no other.
func match(truth []sim.Arrival, stream []seen) error {
	for i := range min(len(truth), len(stream)) {
		if t, s := &truth[i], &stream[i]; t.Len != s.len || t.Digest != s.digest {
			return fmt.Errorf("frame %d of the stream (%d bytes, digest %08x) is not what the model wrote then (%d bytes, digest %08x; frame %d of the wire)",
				i, s.len, s.digest, t.Len, t.Digest, t.Seq)
		}
	}
	if len(truth) != len(stream) {
		return fmt.Errorf("%d frames in the stream, but the model wrote %d", len(stream), len(truth))
	}
	return nil
}

// distribution sums up errors, in ns.
type distribution struct {
	Mean   float64 `json:"mean"`
	Std    float64 `json:"std"`    // standard deviation
	Median float64 `json:"median"` // this and the others: of the absolute value
	MeanOf float64 `json:"mean_of_absolute"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Worst  float64 `json:"worst"`
}

// distributionOf sorts errors, which it changes.
func distributionOf(errors []int64) (d distribution) {
	n := float64(len(errors))
	if n == 0 {
		return d
	}
	var sum, absolute float64
	for _, e := range errors {
		sum += float64(e)
	}
	d.Mean = sum / n
	var squares float64
	for i, e := range errors {
		x := float64(e) - d.Mean
		squares += x * x
		errors[i] = max(e, -e)
		absolute += float64(errors[i])
	}
	d.Std = math.Sqrt(squares / n)
	d.MeanOf = absolute / n
	slices.Sort(errors)
	d.Median, d.P95, d.P99 = quantile(errors, 0.5), quantile(errors, 0.95), quantile(errors, 0.99)
	d.Worst = float64(errors[len(errors)-1])
	return d
}

// quantile is the smallest value that at least that part of all do not exceed.
func quantile(sorted []int64, part float64) float64 {
	i := int(math.Ceil(part*float64(len(sorted)))) - 1
	return float64(sorted[min(max(i, 0), len(sorted)-1)])
}

// quality is how good the stamps of a run are.
type quality struct {
	// Inter is the error of inter-arrival times, observed minus true: the
	// measure of the thesis.
	Inter distribution `json:"inter_arrival"`
	// Absolute is stamp minus true arrival.
	Absolute distribution `json:"absolute"`
	// Written is stamp minus the time at which the frame could be seen first.
	Written distribution `json:"since_written"`
}

// noise is what the machine adds before any software of ours sees a frame.
type noise struct {
	Delay distribution `json:"delay"`         // write-back minus true arrival
	Inter distribution `json:"inter_arrival"` // the error that stamps taken at the write-back would have
}

// judge compares stamps with the truth. h gets the inter-arrival errors,
// floor those of the write-backs.
func judge(truth []sim.Arrival, stream []seen, h, floor *histogram) (q quality, n noise) {
	errors := make([]int64, len(truth))
	all := func(f func(i int) int64) distribution {
		for i := range errors {
			errors[i] = f(i)
		}
		return distributionOf(errors)
	}
	q.Absolute = all(func(i int) int64 { return stream[i].stamp - truth[i].At })
	q.Written = all(func(i int) int64 { return stream[i].stamp - truth[i].Written })
	n.Delay = all(func(i int) int64 { return truth[i].Written - truth[i].At })
	if len(truth) == 0 {
		return q, n
	}
	errors = errors[1:]
	q.Inter = all(func(i int) int64 {
		e := (stream[i+1].stamp - stream[i].stamp) - (truth[i+1].At - truth[i].At)
		h.add(e)
		return e
	})
	n.Inter = all(func(i int) int64 {
		e := (truth[i+1].Written - truth[i].Written) - (truth[i+1].At - truth[i].At)
		floor.add(e)
		return e
	})
	return q, n
}

const (
	binsPerDecade = 24
	decades       = 8 // 1 ns to 100 ms
)

// histogram counts absolute errors in bins of equal width on a logarithmic
// scale: bin i ends at 10^(i/binsPerDecade) ns, the first begins at 0.
type histogram [binsPerDecade*decades + 1]uint64

func (h *histogram) add(e int64) {
	bin := 0
	if e = max(e, -e); e > 1 {
		bin = int(math.Ceil(math.Log10(float64(e))*binsPerDecade - 1e-9))
	}
	h[min(bin, len(h)-1)]++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other {
		h[i] += n
	}
}

// upTo is the part of all errors in the bins up to each, 0 to 1.
func (h *histogram) upTo() (parts [len(histogram{})]float64) {
	var all, sum uint64
	for _, n := range h {
		all += n
	}
	for i, n := range h {
		sum += n
		parts[i] = float64(sum) / float64(max(all, 1))
	}
	return parts
}

// median of values, which it sorts; of an even number the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

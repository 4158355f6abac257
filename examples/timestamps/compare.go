package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/ixcap/ixcap/sim"
)

// stamped is one frame of the stream.
type stamped struct {
	stamp  int64 // ns since 1970
	digest uint32
	len    uint32 // bytes
}

// match returns an error unless the frames of a stream are those that the model wrote
// to the host, in the same order.
func match(arrivals []sim.Arrival, stream []stamped) error {
	for i := range min(len(arrivals), len(stream)) {
		if t, s := &arrivals[i], &stream[i]; t.Len != s.len || t.Digest != s.digest {
			return fmt.Errorf("frame %d of the stream (%d bytes, digest %08x) is not the frame that the model wrote (%d bytes, digest %08x; frame %d of the wire)",
				i, s.len, s.digest, t.Len, t.Digest, t.Seq)
		}
	}
	if len(arrivals) != len(stream) {
		return fmt.Errorf("%d frames in the stream, but the model wrote %d", len(stream), len(arrivals))
	}
	return nil
}

// distribution summarises errors. Median and below are of the absolute value.
type distribution struct {
	Mean   float64 `json:"mean_ns"`
	Std    float64 `json:"std_ns"` // standard deviation
	Median float64 `json:"median_ns"`
	MeanOf float64 `json:"mean_absolute_ns"`
	P95    float64 `json:"p95_ns"`
	P99    float64 `json:"p99_ns"`
	Worst  float64 `json:"worst_ns"`
}

// distributionOf summarises errors. It overwrites and sorts them.
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

// quantile returns the smallest value that at least this part of all values does not
// exceed.
func quantile(sorted []int64, part float64) float64 {
	i := int(math.Ceil(part*float64(len(sorted)))) - 1
	return float64(sorted[min(max(i, 0), len(sorted)-1)])
}

// quality is the accuracy of the stamps of a run.
type quality struct {
	// Inter is the error of inter-arrival times, observed minus true, as in the
	// thesis.
	Inter distribution `json:"inter_arrival"`
	// Absolute is stamp minus true arrival.
	Absolute distribution `json:"absolute"`
	// Written is stamp minus write-back, after which software can see the frame.
	Written distribution `json:"since_written"`
}

// noise is the error that the machine adds before the poller can see a frame.
type noise struct {
	Delay distribution `json:"delay"`         // write-back minus true arrival
	Inter distribution `json:"inter_arrival"` // the error of stamps taken at the write-back
}

// evaluate compares stamps with the true arrivals. It adds the inter-arrival errors to
// h, those of the write-backs to floor.
func evaluate(arrivals []sim.Arrival, stream []stamped, h, floor *histogram) (q quality, n noise) {
	errors := make([]int64, len(arrivals))
	all := func(f func(i int) int64) distribution {
		for i := range errors {
			errors[i] = f(i)
		}
		return distributionOf(errors)
	}
	q.Absolute = all(func(i int) int64 { return stream[i].stamp - arrivals[i].At })
	q.Written = all(func(i int) int64 { return stream[i].stamp - arrivals[i].Written })
	n.Delay = all(func(i int) int64 { return arrivals[i].Written - arrivals[i].At })
	if len(arrivals) == 0 {
		return q, n
	}
	errors = errors[1:]
	q.Inter = all(func(i int) int64 {
		e := (stream[i+1].stamp - stream[i].stamp) - (arrivals[i+1].At - arrivals[i].At)
		h.add(e)
		return e
	})
	n.Inter = all(func(i int) int64 {
		e := (arrivals[i+1].Written - arrivals[i].Written) - (arrivals[i+1].At - arrivals[i].At)
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

// upTo returns for each bin the part of all errors up to its end, 0 to 1.
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

// median returns the median of values, which it sorts; the mean of the middle two if
// their number is even.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/sim"
)

// tenFrames returns ten frames 1000 ns apart, written 100 ns after their arrival.
func tenFrames() (arrivals []sim.Arrival, stream []stamped) {
	for i := range 10 {
		at := int64(1_700_000_000_000_000_000 + 1000*i)
		arrivals = append(arrivals, sim.Arrival{At: at, Written: at + 100, Seq: uint64(i), Digest: uint32(i), Len: 60})
		stream = append(stream, stamped{stamp: at, digest: uint32(i), len: 60})
	}
	return arrivals, stream
}

func TestKnownErrorsAreMeasuredExactly(t *testing.T) {
	for name, c := range map[string]struct {
		stamp    func(i int) int64 // error of stamp i
		inter    distribution
		absolute distribution
	}{
		"exact":    {func(int) int64 { return 0 }, distribution{}, distribution{}},
		"all late": {func(int) int64 { return 700 }, distribution{}, distribution{Mean: 700, Median: 700, MeanOf: 700, P95: 700, P99: 700, Worst: 700}},
		"drifting": {
			func(i int) int64 { return int64(10 * i) },
			distribution{Mean: 10, Median: 10, MeanOf: 10, P95: 10, P99: 10, Worst: 10},
			distribution{Mean: 45, Std: math.Sqrt(825), Median: 40, MeanOf: 45, P95: 90, P99: 90, Worst: 90},
		},
		"pairs stamped at once": { // every other inter-arrival is 0 instead of 1000, the others 2000
			func(i int) int64 { return int64(1000 * ((i + 1) % 2)) },
			distribution{Mean: -1000.0 / 9, Std: math.Sqrt(1e6 - 1e6/81), Median: 1000, MeanOf: 1000, P95: 1000, P99: 1000, Worst: 1000},
			distribution{Mean: 500, Std: 500, Median: 0, MeanOf: 500, P95: 1000, P99: 1000, Worst: 1000},
		},
	} {
		t.Run(name, func(t *testing.T) {
			arrivals, stream := tenFrames()
			for i := range stream {
				stream[i].stamp += c.stamp(i)
			}
			require.NoError(t, match(arrivals, stream))
			var h, floor histogram
			q, n := evaluate(arrivals, stream, &h, &floor)
			requireClose(t, c.inter, q.Inter)
			requireClose(t, c.absolute, q.Absolute)
			require.InDelta(t, c.absolute.Mean-100, q.Written.Mean, 1e-9)
			requireClose(t, distribution{Mean: 100, Median: 100, MeanOf: 100, P95: 100, P99: 100, Worst: 100}, n.Delay)
			requireClose(t, distribution{}, n.Inter)
			require.EqualValues(t, 9, floor[0])
		})
	}
}

func requireClose(t *testing.T, want, got distribution) {
	t.Helper()
	for i, w := range want.fields() {
		require.InDelta(t, *w, *got.fields()[i], 1e-6, "want %+v, got %+v", want, got)
	}
}

func TestFramesThatTheModelDidNotWriteAreReported(t *testing.T) {
	arrivals, stream := tenFrames()
	stream[3], stream[4] = stream[4], stream[3]
	require.ErrorContains(t, match(arrivals, stream), "frame 3 of the stream")
	arrivals, stream = tenFrames()
	stream[9].len++
	require.ErrorContains(t, match(arrivals, stream), "frame 9 of the stream")
	arrivals, stream = tenFrames()
	require.ErrorContains(t, match(arrivals, stream[:9]), "9 frames in the stream, but the model wrote 10")
	require.ErrorContains(t, match(arrivals[1:], stream), "frame 0 of the stream")
	require.NoError(t, match(nil, nil))
	var h histogram
	q, _ := evaluate(nil, nil, &h, &h)
	require.Zero(t, q)
}

func TestHistogramBinsAreLogarithmic(t *testing.T) {
	var h histogram
	for _, e := range []int64{0, 1, -1, 10, -100, 1000, 1e8, math.MaxInt64} {
		h.add(e)
	}
	require.EqualValues(t, 3, h[0])
	for i, n := range map[int]uint64{binsPerDecade: 1, 2 * binsPerDecade: 1, 3 * binsPerDecade: 1, len(h) - 1: 2} {
		require.Equal(t, n, h[i], "bin %d", i)
	}
	parts := h.upTo()
	require.InDelta(t, 3.0/8, parts[0], 1e-12)
	require.InDelta(t, 4.0/8, parts[binsPerDecade], 1e-12)
	require.InDelta(t, 1, parts[len(parts)-1], 1e-12)
}

// makeRuns returns runs with the given standard deviations, by policy and pass.
func makeRuns(traffic string, of map[clock.Policy][]float64) (runs []*result) {
	for p, passes := range of {
		for i, std := range passes {
			r := &result{Traffic: traffic, Policy: p, Pass: i}
			r.Inter.Std, r.Noise.Inter.Std = std, 50
			r.errors.add(int64(std))
			r.floor.add(50)
			runs = append(runs, r)
		}
	}
	return runs
}

func TestSummaryTakesMediansAndRatiosOfTheSamePass(t *testing.T) {
	cells := summarise(makeRuns("wire", map[clock.Policy][]float64{
		clock.PerPacket: {100, 1000, 200}, clock.Adaptive: {50, 1000, 20},
	}))
	c := cells[key{"wire", clock.Adaptive, false}]
	require.Equal(t, 3, c.Runs)
	require.Equal(t, 50.0, c.Inter.Std)
	require.Equal(t, 0.5, c.ToPacket)
	require.Equal(t, 200.0, cells[key{"wire", clock.PerPacket, false}].Inter.Std)
	require.Equal(t, 1.0, c.ToFloor)
}

func TestVerdictComparesAdaptiveWithTheBetterOfBoth(t *testing.T) {
	list := []traffic{{Name: "1514", Title: "a"}, {Name: "wire", Title: "b"}, {Name: "original", Title: "c"}}
	for name, c := range map[string]struct {
		packet, weighted, adaptive [3]float64
		want                       []bool
	}{
		"best of both":  {[3]float64{600, 400, 1000}, [3]float64{170, 100, 15000}, [3]float64{180, 105, 1050}, []bool{true, true, true, true, true}},
		"bad at one":    {[3]float64{600, 400, 1000}, [3]float64{170, 100, 15000}, [3]float64{180, 105, 1200}, []bool{true, true, false, true, true}},
		"always packet": {[3]float64{600, 450, 1000}, [3]float64{170, 100, 15000}, [3]float64{600, 450, 1000}, []bool{false, false, true, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var runs []*result
			for i, tr := range list {
				runs = append(runs, makeRuns(tr.Name, map[clock.Policy][]float64{
					clock.PerPacket: {c.packet[i]}, clock.Weighted: {c.weighted[i]}, clock.Adaptive: {c.adaptive[i]},
				})...)
			}
			var got []bool
			for _, v := range evaluateAdaptive(summarise(runs), list) {
				got = append(got, v.OK)
			}
			require.Equal(t, c.want, got)
		})
	}
	require.Empty(t, evaluateAdaptive(summarise(makeRuns("wire", map[clock.Policy][]float64{clock.PerPacket: {1}})), list))
}

func TestPlotIsWellFormedAndHasEveryPolicy(t *testing.T) {
	policies := []clock.Policy{clock.PerPacket, clock.Adaptive, clock.Sample(3)}
	list := []traffic{{Name: "wire", Title: "trace at wire speed"}}
	cells := summarise(makeRuns("wire", map[clock.Policy][]float64{clock.PerPacket: {100}, clock.Adaptive: {1e12}, clock.Sample(3): {0}}))
	var b strings.Builder
	require.NoError(t, plot(&b, cells, list, policies))
	texts := b.String()
	for _, p := range policies {
		require.Contains(t, texts, ">"+p.String()+"<")
	}
	require.NotContains(t, texts, "NaN")
	for d := xml.NewDecoder(strings.NewReader(texts)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
	}
}

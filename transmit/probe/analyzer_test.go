package probe_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/transmit/probe"
)

// marked is a UDP frame with a mark.
func marked(m probe.Mark) []byte {
	f := make([]byte, 60)
	f[12], f[14], f[23] = 8, 0x45, 17
	m.Put(f[42:])
	return f
}

// analyze analyzes frames of stream 0 with sequence numbers, sent every 1000 ns and
// received delay(i) later.
func analyze(seqs []uint64, delay func(i int) int64) probe.Report {
	var a probe.Analyzer
	for i, seq := range seqs {
		sent := int64(seq) * 1000
		a.Add(marked(probe.Mark{Seq: seq, Sent: sent}), 60, sent+delay(i))
	}
	return a.Reports()[0]
}

func constant(int) int64 { return 500 }

func count(n uint64) (all []uint64) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func TestLossReorderingAndDuplicates(t *testing.T) {
	for _, c := range []struct {
		name                            string
		seqs                            []uint64
		frames, lost, late, dup, extent uint64
	}{
		{"complete", []uint64{0, 1, 2, 3}, 4, 0, 0, 0, 0},
		{"lost", []uint64{0, 1, 4, 5, 9}, 5, 5, 0, 0, 0},
		{"begins later", []uint64{7, 8}, 2, 0, 0, 0, 0},
		{"reordered", []uint64{0, 2, 3, 1, 4}, 5, 0, 1, 0, 2},
		{"reordered before the first", []uint64{5, 3, 6}, 3, 1, 1, 0, 2},
		{"duplicates", []uint64{0, 1, 1, 2, 0, 0}, 3, 0, 0, 3, 0},
		{"all", []uint64{0, 3, 3, 1, 6, 1}, 4, 3, 1, 2, 2},
		{"a large gap", []uint64{0, 1 << 40, 1<<40 + 1, 1 << 40}, 3, 1<<40 - 1, 0, 1, 0},
		{"too late to tell", []uint64{0, 100_000, 0}, 3, 100_001 - 3, 1, 0, 100_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := analyze(c.seqs, constant)
			require.Equal(t, c.frames, r.Frames)
			require.Equal(t, c.lost, r.Lost)
			require.Equal(t, c.late, r.Reordered)
			require.Equal(t, c.dup, r.Duplicates)
			require.Equal(t, c.extent, r.MaxExtent)
		})
	}
}

// A network that loses, doubles and moves frames at random is reported as it was.
func TestRandomNetwork(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 50 {
		var arrivals []uint64
		lost, dup := uint64(0), uint64(0)
		for i := range uint64(5000) {
			switch {
			case i == 0 || i == 4999:
				arrivals = append(arrivals, i)
			case rnd.IntN(50) == 0:
				lost++
			case rnd.IntN(50) == 0:
				arrivals = append(arrivals, i, i)
				dup++
			default:
				arrivals = append(arrivals, i)
			}
		}
		for range 20 { // move frames back
			from := 1 + rnd.IntN(len(arrivals)-200)
			v := arrivals[from]
			arrivals = slices.Insert(slices.Delete(arrivals, from, from+1), from+rnd.IntN(100), v)
		}
		late, newest, seen := uint64(0), uint64(0), map[uint64]bool{}
		for _, v := range arrivals {
			if !seen[v] && v < newest {
				late++
			}
			seen[v], newest = true, max(newest, v)
		}
		r := analyze(arrivals, constant)
		require.Equal(t, lost, r.Lost)
		require.Equal(t, dup, r.Duplicates)
		require.Equal(t, late, r.Reordered)
		require.Equal(t, 5000-lost, r.Frames)
	}
}

func TestDelayAndJitter(t *testing.T) {
	r := analyze(count(1001), func(i int) int64 { return int64(i) })
	require.EqualValues(t, 0, r.MinDelay)
	require.EqualValues(t, 1000, r.MaxDelay)
	require.InDelta(t, 500, r.MeanDelay, 1e-6)
	require.InDelta(t, 288.96, r.StdDevDelay, 0.1)
	require.EqualValues(t, 500, r.MedianDelay)
	require.EqualValues(t, 990, r.P99Delay)
	require.InDelta(t, 1, r.Jitter, 1e-9, "each delay is 1 ns longer than the one before")
	require.InDelta(t, 1, r.MeanVariation, 1e-9)
	require.InDelta(t, 1001, r.MeanGap, 1e-9)

	// Clocks that differ by a day cost no precision.
	r = analyze(count(1000), func(i int) int64 { return 86400e9 + int64(i%2)*10 })
	require.InDelta(t, 5, r.StdDevDelay, 1e-6)
	require.InDelta(t, 10, r.MeanVariation, 1e-9)
	require.InDelta(t, 10, r.Jitter, 1e-3)
}

func TestStreamsAreApart(t *testing.T) {
	var a probe.Analyzer
	for i := range uint64(10) {
		a.Add(marked(probe.Mark{Stream: 200, Seq: i, Sent: 1}), 60, 2)
		a.Add(marked(probe.Mark{Stream: 1, Seq: i * 2, Sent: 1}), 60, 2)
		a.Add(make([]byte, 60), 60, 2)
	}
	all := a.Reports()
	require.Len(t, all, 2)
	require.EqualValues(t, 1, all[0].Stream)
	require.EqualValues(t, 9, all[0].Lost)
	require.Zero(t, all[1].Lost)
	require.EqualValues(t, 10, a.Unmarked())
	var text strings.Builder
	require.NoError(t, a.WriteText(&text))
	require.Contains(t, text.String(), "           9  frames      lost between these\n")
}

func FuzzParse(f *testing.F) {
	f.Add(marked(probe.Mark{Stream: 3, Seq: 1 << 47, Sent: 77}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, ok := probe.Parse(frame)
		if !ok {
			return
		}
		b := make([]byte, probe.Size)
		m.Put(b)
		require.Contains(t, string(frame), string(b))
	})
}

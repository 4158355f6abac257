package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// lengths of bursts, as in the paper: 1,000 to 10 million frames.
var lengths = []uint64{1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000}

// series is a plot: variants that are compared.
type series struct {
	title    string
	variants []variant
}

var experiment = []series{
	{"R x M grows", []variant{{}, {32, 256}, {64, 256}, {128, 256}, {256, 256}, {512, 256}}},
	{"R x M is constant", []variant{{64, 1024}, {128, 512}, {256, 256}, {512, 128}, {1024, 64}}},
}

// bursts are the results of the first experiment.
type bursts struct {
	lengths []uint64
	results map[variant]result
}

func runBursts(cost time.Duration, longest uint64) (bursts, error) {
	b := bursts{slices.DeleteFunc(slices.Clone(lengths), func(n uint64) bool { return n > longest }), map[variant]result{}}
	for _, s := range experiment {
		for _, v := range s.variants {
			if _, done := b.results[v]; done {
				continue
			}
			r, err := burst(v, cost, b.lengths)
			if err != nil {
				return b, fmt.Errorf("%v: %w", v, err)
			}
			b.results[v] = r
		}
	}
	return b, nil
}

// table writes the results as Markdown: a row for each variant.
func (b bursts) table(w io.Writer) error {
	for _, s := range experiment {
		rows := [][]string{{s.title, "R x M", "survived"}}
		for _, n := range b.lengths {
			rows[0] = append(rows[0], count(n))
		}
		for _, v := range s.variants {
			r := b.results[v]
			row := []string{v.String(), fmt.Sprint(v.buffers()), fmt.Sprint(r.survived)}
			rows = append(rows, append(row, percents(r.loss)...))
		}
		if err := markdown(w, rows); err != nil {
			return err
		}
	}
	return nil
}

// plot plots the loss over the length of the burst, whose axis is logarithmic.
func (b bursts) plot() plot {
	p := plot{title: "Frames lost of a burst at wire speed, over its length", label: "Loss over the length of a burst"}
	from, to := math.Log10(float64(b.lengths[0])), math.Log10(float64(max(b.lengths[len(b.lengths)-1], 10*b.lengths[0])))
	at := func(n uint64) float64 { return (math.Log10(float64(n)) - from) / (to - from) }
	for _, s := range experiment {
		one := panel{title: s.title, x: "frames of the burst", percent: 100}
		for e := math.Ceil(from); e <= to; e++ {
			n := uint64(math.Round(math.Pow(10, e)))
			one.marks = append(one.marks, mark{at(n), count(n)})
		}
		for i, v := range s.variants {
			r, c := b.results[v], curve{name: v.String(), style: i}
			for k, n := range b.lengths {
				c.points = append(c.points, [2]float64{at(n), r.loss[k]})
				if n <= r.survived && k+1 < len(b.lengths) && b.lengths[k+1] > r.survived {
					c.points = append(c.points, [2]float64{at(r.survived), 0})
				}
			}
			one.curves = append(one.curves, c)
		}
		p.panels = append(p.panels, one)
	}
	return p
}

// count is a number of frames in short.
func count(n uint64) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

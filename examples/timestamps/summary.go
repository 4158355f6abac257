package main

import (
	"math"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
)

// cell summarises the runs of one policy on one traffic: each figure is the median over
// the passes, so that a pass disturbed by other work counts once.
type cell struct {
	Traffic string       `json:"traffic"`
	Policy  clock.Policy `json:"policy"`
	Shared  bool         `json:"shared"`
	Runs    int          `json:"runs"`
	quality
	Noise noise `json:"noise"`

	// ToPacket is the standard deviation of the inter-arrival error divided by that
	// of policy packet in the same pass.
	ToPacket float64 `json:"to_packet"`
	// ToFloor is the same, divided by that of stamps at the write-back.
	ToFloor float64 `json:"to_floor"`

	LostWorst uint64        `json:"lost_worst"` // frames, in one run
	LateWorst time.Duration `json:"late_worst_ns"`
	Gap       time.Duration `json:"gap_ns"` // the median of the longest gaps

	errors, floor histogram // all passes
}

// key identifies a cell.
type key struct {
	traffic string
	policy  clock.Policy
	shared  bool
}

// summarise returns the cells of all runs.
func summarise(runs []*result) map[key]*cell {
	groups := map[key][]*result{}
	packet := map[key]map[int]float64{} // policy is 0: standard deviation of packet by pass
	for _, r := range runs {
		k := key{r.Traffic, r.Policy, r.Shared}
		groups[k] = append(groups[k], r)
		if r.Policy == clock.PerPacket {
			k.policy = 0
			if packet[k] == nil {
				packet[k] = map[int]float64{}
			}
			packet[k][r.Pass] = r.Inter.Std
		}
	}
	cells := map[key]*cell{}
	for k, group := range groups {
		c := &cell{Traffic: k.traffic, Policy: k.policy, Shared: k.shared, Runs: len(group)}
		of := func(f func(r *result) float64) float64 {
			values := make([]float64, 0, len(group))
			for _, r := range group {
				if v := f(r); !math.IsNaN(v) {
					values = append(values, v)
				}
			}
			return median(values)
		}
		dist := func(f func(r *result) *distribution) (d distribution) {
			for i, field := range d.fields() {
				*field = of(func(r *result) float64 { return *f(r).fields()[i] })
			}
			return d
		}
		c.Inter = dist(func(r *result) *distribution { return &r.Inter })
		c.Absolute = dist(func(r *result) *distribution { return &r.Absolute })
		c.Written = dist(func(r *result) *distribution { return &r.Written })
		c.Noise.Delay = dist(func(r *result) *distribution { return &r.Noise.Delay })
		c.Noise.Inter = dist(func(r *result) *distribution { return &r.Noise.Inter })
		of0 := packet[key{k.traffic, 0, k.shared}]
		c.ToPacket = of(func(r *result) float64 {
			if p, ok := of0[r.Pass]; ok && p > 0 {
				return r.Inter.Std / p
			}
			return math.NaN()
		})
		c.ToFloor = of(func(r *result) float64 { return r.Inter.Std / max(r.Noise.Inter.Std, 0.1) })
		c.Gap = time.Duration(of(func(r *result) float64 { return float64(r.Gap) }))
		for _, r := range group {
			c.LostWorst = max(c.LostWorst, r.Lost)
			c.LateWorst = max(c.LateWorst, r.Late)
			c.errors.merge(&r.errors)
			c.floor.merge(&r.floor)
		}
		cells[k] = c
	}
	return cells
}

func (d *distribution) fields() []*float64 {
	return []*float64{&d.Mean, &d.Std, &d.Median, &d.MeanOf, &d.P95, &d.P99, &d.Worst}
}

// floorOf summarises the noise of all runs on a traffic, for all policies.
func floorOf(cells map[key]*cell, policies []clock.Policy, traffic string, shared bool) (n noise, h histogram) {
	var of []*cell
	for _, p := range policies {
		if c := cells[key{traffic, p, shared}]; c != nil {
			of = append(of, c)
			h.merge(&c.floor)
		}
	}
	middle := func(f func(c *cell) *distribution) (d distribution) {
		for i, field := range d.fields() {
			var values []float64
			for _, c := range of {
				values = append(values, *f(c).fields()[i])
			}
			*field = median(values)
		}
		return d
	}
	n.Delay = middle(func(c *cell) *distribution { return &c.Noise.Delay })
	n.Inter = middle(func(c *cell) *distribution { return &c.Noise.Inter })
	return n, h
}

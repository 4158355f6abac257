package main

import (
	"fmt"
	"math"

	"github.com/ixcap/ixcap/capture/clock"
)

// thesis has the figures of the HPCAP thesis (Tables 4.1 and 4.2; batches of 32): mean
// and standard deviation of the inter-arrival error in ns, with a hardware sender, one
// receive queue of an 82599, and a trace of 5500 frames.
var thesis = map[key]struct{ mean, std float64 }{
	{"1514", clock.PerPacket, false}: {2, 612}, // KPT
	{"1514", clock.Batch, false}:     {2, 3400},
	{"1514", clock.Uniform, false}:   {2, 167}, // UDTS
	{"1514", clock.Weighted, false}:  {2, 170}, // WDTS

	{"wire", clock.PerPacket, false}: {-1, 418},
	{"wire", clock.Batch, false}:     {13, 3171},
	{"wire", clock.Uniform, false}:   {12, 608},
	{"wire", clock.Weighted, false}:  {5, 111},

	{"original", clock.PerPacket, false}: {-43, 1093},
	{"original", clock.Batch, false}:     {-26, 19399},
	{"original", clock.Uniform, false}:   {-40, 13671},
	{"original", clock.Weighted, false}:  {-42, 14893},
}

const (
	goal        = 418.0 // ns at wire speed: the thesis's policy packet
	goalTraffic = "wire"
	tolerance   = 1.10 // of the better of packet and weighted
)

// verdict is one goal and whether it was met.
type verdict struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// evaluateAdaptive checks the goals of policy adaptive: on each traffic at most 10 %
// worse than the better of packet and weighted, over all traffics better than either
// (geometric mean), and below the thesis's 418 ns at wire speed.
func evaluateAdaptive(cells map[key]*cell, list []traffic) (all []verdict) {
	add := func(ok bool, format string, args ...any) {
		all = append(all, verdict{ok, fmt.Sprintf(format, args...)})
	}
	var logs [3]float64
	for _, t := range list {
		var std [3]float64
		for i, p := range []clock.Policy{clock.PerPacket, clock.Weighted, clock.Adaptive} {
			c := cells[key{t.Name, p, false}]
			if c == nil {
				return nil
			}
			std[i] = c.Inter.Std
			logs[i] += math.Log(max(std[i], 0.1)) / float64(len(list))
		}
		better := min(std[0], std[1])
		add(std[2] <= tolerance*better, "%s: adaptive %.0f ns, packet %.0f ns, weighted %.0f ns: %.2f of the better (at most %.2f)",
			t.Title, std[2], std[0], std[1], std[2]/better, tolerance)
	}
	mean := func(i int) float64 { return math.Exp(logs[i]) }
	add(mean(2) < mean(0) && mean(2) < mean(1), "geometric mean of the three: adaptive %.0f ns, packet %.0f ns, weighted %.0f ns",
		mean(2), mean(0), mean(1))
	c, packet := cells[key{goalTraffic, clock.Adaptive, false}], cells[key{goalTraffic, clock.PerPacket, false}]
	add(c.Inter.Std < goal, "at wire speed: adaptive %.0f ns, thesis %.0f ns; %.2f of packet in the same pass; stamps at the write-back %.0f ns",
		c.Inter.Std, goal, c.ToPacket, packet.Noise.Inter.Std)
	return all
}

package main

import (
	"fmt"
	"math"

	"github.com/ixcap/ixcap/capture/clock"
)

// published is what the HPCAP thesis measured (Tables 4.1 and 4.2; batches of
// 32): mean and standard deviation of the inter-arrival error, ns. A hardware
// sender, one receive queue of an 82599, and a trace of 5500 frames.
var published = map[key]struct{ mean, std float64 }{
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
	goal     = 418.0 // ns at wire speed, the thesis's packet by packet
	goalOn   = "wire"
	tolerate = 1.10 // of the better of packet and weighted
)

// verdict is one line about what was to be reached.
type verdict struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// judgeAdaptive holds policy adaptive against packet and weighted: on each
// traffic no more than 10 % worse than the better of them, over all better than
// either (geometric mean), and below the thesis's 418 ns at wire speed.
func judgeAdaptive(cells map[key]*cell, list []traffic) (all []verdict) {
	say := func(ok bool, format string, args ...any) {
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
		say(std[2] <= tolerate*better, "%s: adaptive %.0f ns, packet %.0f, weighted %.0f: %.2f of the better (at most %.2f)",
			t.Title, std[2], std[0], std[1], std[2]/better, tolerate)
	}
	mean := func(i int) float64 { return math.Exp(logs[i]) }
	say(mean(2) < mean(0) && mean(2) < mean(1), "over the three (geometric mean): adaptive %.0f ns, packet %.0f, weighted %.0f",
		mean(2), mean(0), mean(1))
	c, packet := cells[key{goalOn, clock.Adaptive, false}], cells[key{goalOn, clock.PerPacket, false}]
	say(c.Inter.Std < goal, "at wire speed: adaptive %.0f ns, thesis %.0f; %.2f of packet in the same pass; a stamp at the write-back itself would have %.0f",
		c.Inter.Std, goal, c.ToPacket, packet.Noise.Inter.Std)
	return all
}

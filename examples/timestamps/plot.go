package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/ixcap/ixcap/capture/clock"
)

// The plot has a column for each traffic and a row for each use of the poller's core. A
// curve shows the part of the frames whose inter-arrival error exceeds x. Both axes are
// logarithmic, because the tail makes the standard deviation.
const (
	panelW, panelH = 330, 230
	marginL        = 64
	marginT        = 84
	gapX, gapY     = 40, 66
	xFrom, xTo     = 0, 7 // decades of ns
	yTo            = -5   // decades: the smallest part shown
	footer         = 78   // axis labels and legend
)

// curve is the style of a policy's curve.
type curve struct{ colour, dash, width string }

var curves = map[clock.Policy]curve{
	clock.PerPacket: {"blue", "", "1.8"},
	clock.Batch:     {"grey", "", "1.5"},
	clock.Uniform:   {"gold", "", "1.5"},
	clock.Weighted:  {"green", "", "1.8"},
	clock.Adaptive:  {"red", "", "2.6"},
	clock.Sample(2): {"pink", "", "1.2"},
	clock.Sample(4): {"pink", "6 3", "1.2"},
	clock.Sample(8): {"pink", "2 3", "1.4"},
}

var floorCurve = curve{"ink", "1 3", "1.4"}

// hues are the colours on a light and on a dark page. They are written out, because
// some SVG viewers do not support variables.
var hues = []struct{ name, light, dark string }{
	{"paper", "#ffffff", "#0d1117"}, {"ink", "#24292f", "#e6edf3"}, {"faint", "#d8dee4", "#30363d"},
	{"blue", "#0969da", "#58a6ff"}, {"grey", "#8c959f", "#8b949e"}, {"gold", "#bf8700", "#e3b341"},
	{"green", "#1a7f37", "#56d364"}, {"red", "#cf222e", "#ff7b72"}, {"pink", "#b04ac0", "#d2a8ff"},
}

const style = `text { font: 12px system-ui, "DejaVu Sans", sans-serif; } .title { font-size: 16px; font-weight: 600; } .head { font-weight: 600; } .small { font-size: 11px; }
.line { fill: none; stroke-linejoin: round; } .frame { fill: none; stroke-opacity: .45; } .goal { stroke-opacity: .6; stroke-dasharray: 5 4; }
`

func styles() string {
	rules := func(of func(i int) string) (css string) {
		for i, h := range hues {
			css += fmt.Sprintf(".c-%s { stroke: %s; } ", h.name, of(i))
		}
		return css + fmt.Sprintf("text { fill: %s; } .paper { fill: %s; }", of(1), of(0))
	}
	return style + rules(func(i int) string { return hues[i].light }) +
		"\n@media (prefers-color-scheme: dark) { " + rules(func(i int) string { return hues[i].dark }) + " }\n"
}

// drawing collects the parts of an SVG file.
type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, class, anchor, words string) {
	d.add(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, words)
}

// plot writes the distributions of all passes as SVG.
func plot(w io.Writer, cells map[key]*cell, list []traffic, policies []clock.Policy) error {
	var rows []bool
	for _, shared := range []bool{false, true} {
		if has(cells, shared) {
			rows = append(rows, shared)
		}
	}
	width := marginL + len(list)*panelW + (len(list)-1)*gapX + 24
	height := marginT + len(rows)*panelH + (len(rows)-1)*gapY + footer
	var d drawing
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="Distribution of timestamp errors by policy">`, width, height, width, height)
	d.add("<style>%s</style>", styles())
	d.add(`<rect width="%d" height="%d" class="paper"/>`, width, height)
	d.text(marginL, 28, "title", "start", "Error of measured inter-arrival times")
	d.text(marginL, 47, "small", "start", "part of the frames whose error exceeds the value on the x axis; further left and lower is better")
	for i, shared := range rows {
		for k, t := range list {
			x := float64(marginL + k*(panelW+gapX))
			y := float64(marginT + i*(panelH+gapY))
			d.panel(x, y, k == 0, i == len(rows)-1, t, cells, policies, shared)
		}
	}
	d.legend(float64(height)-20, policies)
	d.add("</svg>")
	_, err := io.WriteString(w, d.String())
	return err
}

func (d *drawing) panel(x, y float64, left, bottom bool, t traffic, cells map[key]*cell, policies []clock.Policy, shared bool) {
	title := t.Title
	if shared {
		title += ", core shared"
	}
	d.text(x, y-9, "head", "start", title)
	for e := xFrom; e <= xTo; e++ {
		at := x + xOf(math.Pow10(e))
		if e > xFrom && e < xTo {
			d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="c-faint"/>`, at, y, at, y+panelH)
		}
		d.text(at, y+panelH+16, "small", "middle", [...]string{"1 ns", "10 ns", "100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms"}[e])
	}
	for e := 0; e >= yTo; e-- {
		at := y + yOf(math.Pow10(e))
		if e < 0 && e > yTo {
			d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="c-faint"/>`, x, at, x+panelW, at)
		}
		if left {
			d.text(x-8, at+4, "small", "end", [...]string{"100 %", "10 %", "1 %", "0.1 %", "0.01 %", "0.001 %"}[-e])
		}
	}
	if bottom {
		d.text(x+panelW/2, y+panelH+34, "small", "middle", "error of the inter-arrival time")
	}
	if t.Name == goalTraffic && !shared {
		at := x + xOf(goal)
		d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="goal c-ink"/>`, at, y, at, y+panelH)
		d.text(at+5, y+14, "small", "start", "std of the thesis, 418 ns")
	}
	d.add(`<rect x="%.1f" y="%.1f" width="%d" height="%d" class="frame c-ink"/>`, x, y, panelW, panelH)
	_, floor := floorOf(cells, policies, t.Name, shared)
	d.curve(x, y, &floor, floorCurve)
	for _, p := range drawingOrder(policies) {
		if c := cells[key{t.Name, p, shared}]; c != nil {
			d.curve(x, y, &c.errors, curveOf(p))
		}
	}
}

// drawingOrder returns the policies with the most important last, on top.
func drawingOrder(policies []clock.Policy) (list []clock.Policy) {
	for i := range policies {
		if p := policies[len(policies)-1-i]; p != clock.Adaptive {
			list = append(list, p)
		}
	}
	for _, p := range policies {
		if p == clock.Adaptive {
			list = append(list, p)
		}
	}
	return list
}

func curveOf(p clock.Policy) curve {
	if c, ok := curves[p]; ok {
		return c
	}
	return curve{"pink", "1 2", "1.2"}
}

// xOf and yOf return the coordinates in a panel of an error in ns and of a part of all
// frames.
func xOf(ns float64) float64 {
	at := (math.Log10(ns) - xFrom) / (xTo - xFrom)
	return panelW * min(max(at, 0), 1)
}

func yOf(part float64) float64 {
	if part <= 0 {
		return panelH
	}
	return panelH * min(math.Log10(part)/yTo, 1)
}

func (d *drawing) curve(x, y float64, h *histogram, c curve) {
	parts := h.upTo()
	var path strings.Builder
	fmt.Fprintf(&path, "M%.1f %.1f", x, y)
	for i, part := range parts {
		ns := math.Pow(10, float64(i)/binsPerDecade)
		rest := 1 - part
		fmt.Fprintf(&path, "L%.1f %.1f", x+xOf(ns), y+yOf(rest))
		if rest < math.Pow10(yTo) || ns >= math.Pow10(xTo) {
			break
		}
	}
	d.add(`<path d="%s" class="line c-%s" stroke-width="%s" stroke-dasharray="%s"/>`, path.String(), c.colour, c.width, orNone(c.dash))
}

func orNone(dash string) string {
	if dash == "" {
		return "none"
	}
	return dash
}

func (d *drawing) legend(y float64, policies []clock.Policy) {
	x := float64(marginL)
	add := func(name string, c curve) {
		d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="c-%s" stroke-width="%s" stroke-dasharray="%s"/>`,
			x, y-4, x+26, y-4, c.colour, c.width, orNone(c.dash))
		d.text(x+32, y, "", "start", name)
		x += 32 + 7.2*float64(len(name)) + 18
	}
	for _, p := range policies {
		add(p.String(), curveOf(p))
	}
	add("(write-back)", floorCurve)
}

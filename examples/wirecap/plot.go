package main

import (
	"fmt"
	"io"
	"strings"
)

const (
	panelW, panelH = 360, 240
	marginL        = 60
	marginT        = 70
	gapX           = 50
	footer         = 130 // axis and legend
)

// hues are the colours on a light and on a dark page, written out because some SVG viewers do
// not support variables.
var hues = []struct{ name, light, dark string }{
	{"paper", "#ffffff", "#0d1117"}, {"ink", "#24292f", "#e6edf3"}, {"faint", "#d8dee4", "#30363d"},
	{"grey", "#8c959f", "#8b949e"}, {"gold", "#bf8700", "#e3b341"}, {"green", "#1a7f37", "#56d364"},
	{"blue", "#0969da", "#58a6ff"}, {"pink", "#b04ac0", "#d2a8ff"}, {"red", "#cf222e", "#ff7b72"},
}

// dashes tell curves apart that lie on each other.
var dashes = []string{"none", "12 4", "8 5", "5 6", "2 6", "none"}

func styles() string {
	rules := func(of func(i int) string) (css string) {
		for i, h := range hues {
			css += fmt.Sprintf(".c-%s { stroke: %s; } ", h.name, of(i))
		}
		return css + fmt.Sprintf("text { fill: %s; } .paper { fill: %s; }", of(1), of(0))
	}
	return `text { font: 12px system-ui, "DejaVu Sans", sans-serif; } .title { font-size: 16px; font-weight: 600; } .head { font-weight: 600; }
.line { fill: none; stroke-width: 2; } .frame { fill: none; stroke-opacity: .45; }
` + rules(func(i int) string { return hues[i].light }) +
		"\n@media (prefers-color-scheme: dark) { " + rules(func(i int) string { return hues[i].dark }) + " }\n"
}

// drawing collects the parts of an SVG file.
type drawing struct{ strings.Builder }

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

func (d *drawing) text(x, y float64, class, anchor, words string) {
	d.add(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, words)
}

func (d *drawing) line(x, y, x2, y2 float64, colour string) {
	d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="c-%s"/>`, x, y, x2, y2, colour)
}

// plot is an SVG file of panels.
type plot struct {
	title, label string // label: for who does not see it
	panels       []panel
}

// panel is a plot of the part of the frames that is lost.
type panel struct {
	title, x string
	marks    []mark
	percent  int // at the top of the axis
	curves   []curve
}

// mark is a place of the axis, of its length.
type mark struct {
	at   float64
	text string
}

// curve is points: places on the axis, and parts.
type curve struct {
	name   string
	style  int // of hues and dashes
	points [][2]float64
}

// write writes the file.
func (p plot) write(w io.Writer) error {
	width := marginL + len(p.panels)*panelW + (len(p.panels)-1)*gapX + 24
	height := marginT + panelH + footer
	var d drawing
	d.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`, width, height, width, height, p.label)
	d.add("<style>%s</style>", styles())
	d.add(`<rect width="%d" height="%d" class="paper"/>`, width, height)
	d.text(marginL, 28, "title", "start", p.title)
	for i, one := range p.panels {
		d.panel(float64(marginL+i*(panelW+gapX)), marginT, one)
	}
	d.add("</svg>")
	_, err := io.WriteString(w, d.String())
	return err
}

func (d *drawing) panel(x, y float64, p panel) {
	d.text(x, y-10, "head", "start", p.title)
	yOf := func(part float64) float64 { return y + panelH*(1-part*100/float64(p.percent)) }
	for _, m := range p.marks {
		at := x + panelW*m.at
		d.line(at, y, at, y+panelH, "faint")
		d.text(at, y+panelH+16, "", "middle", m.text)
	}
	for percent := 0; percent <= p.percent; percent += p.percent / 5 {
		at := yOf(float64(percent) / 100)
		d.line(x, at, x+panelW, at, "faint")
		d.text(x-8, at+4, "", "end", fmt.Sprintf("%d %%", percent))
	}
	d.add(`<rect x="%.1f" y="%.1f" width="%d" height="%d" class="frame c-ink"/>`, x, y, panelW, panelH)
	d.text(x+panelW/2, y+panelH+34, "", "middle", p.x)
	for i, c := range p.curves {
		path := ""
		for k, at := range c.points {
			path += fmt.Sprintf("%c%.1f %.1f", "ML"[min(k, 1)], x+panelW*at[0], yOf(at[1]))
		}
		colour, dash := hues[3+c.style%(len(hues)-3)].name, dashes[c.style%len(dashes)]
		d.add(`<path d="%s" class="line c-%s" stroke-dasharray="%s"/>`, path, colour, dash)
		lx, ly := x+float64(i%2)*panelW/2, y+panelH+58+float64(i/2)*18
		d.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="line c-%s" stroke-dasharray="%s"/>`, lx, ly-4, lx+26, ly-4, colour, dash)
		d.text(lx+32, ly, "", "start", c.name)
	}
}

package traffic

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/ixcap/ixcap/transmit"
)

// Gaps are the times between departures. The zero value is constant: each frame comes
// after the distance that the rate gives.
type Gaps struct {
	text    string
	kind    gapKind
	burst   uint64    // frames of a burst
	pause   float64   // ps between bursts, or off
	on      float64   // ps
	file    []float64 // ps
	present float64   // ps of the current on
}

type gapKind uint8

const (
	constant gapKind = iota
	poisson
	bursts
	onOff
	fromFile
)

const gapsAllowed = "constant, poisson, burst=FRAMES,PAUSE, on-off=TIME,TIME or file=NAME"

// ParseGaps parses
//
//	constant          the distance of the rate
//	poisson           exponential distances with the rate's mean
//	burst=10,1ms      packet trains: 10 frames at the rate, and 1 ms from the last of them to
//	                  the next
//	on-off=1ms,9ms    1 ms of frames at the rate, 9 ms of none
//	file=NAME         distances in ns, one a line, in turn; the rate is not used
//
// open opens a file.
func ParseGaps(text string, open func(name string) (io.ReadCloser, error)) (Gaps, error) {
	g := Gaps{text: text}
	kind, value, _ := strings.Cut(text, "=")
	first, second, both := strings.Cut(value, ",")
	var err error
	switch {
	case text == "constant":
	case text == "poisson":
		g.kind = poisson
	case kind == "burst" && both:
		g.kind = bursts
		if g.burst, err = strconv.ParseUint(first, 10, 32); err == nil && g.burst == 0 {
			err = strconv.ErrRange
		}
		g.pause = picoseconds(second, &err)
	case kind == "on-off" && both:
		g.kind = onOff
		g.on, g.pause = picoseconds(first, &err), picoseconds(second, &err)
	case kind == "file" && value != "":
		g.kind = fromFile
		return g, g.load(value, open)
	default:
		return g, fmt.Errorf("%q: want %s", text, gapsAllowed)
	}
	if err != nil {
		return g, fmt.Errorf("%q: %w: want %s, with times such as 1ms", text, err, gapsAllowed)
	}
	return g, nil
}

func picoseconds(text string, err *error) float64 {
	d, bad := time.ParseDuration(text)
	if bad == nil && (d <= 0 || d > time.Hour) {
		bad = fmt.Errorf("%v is not from 1ns to 1h", d)
	}
	if *err == nil {
		*err = bad
	}
	return float64(d) * 1000
}

func (g *Gaps) load(name string, open func(string) (io.ReadCloser, error)) error {
	f, err := open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if g.file, err = parseFile(f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// maxGaps is the number of distances of a file.
const maxGaps = 10_000_000

// parseFile reads distances in ns, one a line, and returns ps. Lines that begin with #
// and empty ones are skipped.
func parseFile(r io.Reader) (gaps []float64, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		ns, err := strconv.ParseFloat(text, 64)
		if err != nil || !(ns >= 0 && ns <= 3.6e12) {
			return nil, fmt.Errorf("line %d: %.20q: want a distance in ns, up to an hour", n, text)
		}
		if gaps = append(gaps, ns*1000); len(gaps) > maxGaps {
			return nil, fmt.Errorf("line %d: more than %d distances", n, maxGaps)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(gaps) == 0 {
		return nil, fmt.Errorf("no distances: want one in ns on each line")
	}
	return gaps, nil
}

// Constant reports whether all distances are the rate's.
func (g *Gaps) Constant() bool { return g.kind == constant }

// next returns the distance from frame i, of n bytes, to the next.
func (g *Gaps) next(i uint64, n int, rate transmit.Rate, r *rand.Rand) float64 {
	gap := rate.Gap(n)
	switch g.kind {
	case poisson:
		return -math.Log(1-r.Float64()) * gap
	case bursts:
		if (i+1)%g.burst == 0 {
			return g.pause
		}
	case onOff:
		gap = max(gap, float64(transmit.WireBytes(n))*800) // at the line's rate, the line's distance
		if g.present += gap; g.present >= g.on {
			g.present = 0
			return gap + g.pause
		}
	case fromFile:
		return g.file[i%uint64(len(g.file))]
	}
	return gap
}

// String returns the text that ParseGaps reads.
func (g *Gaps) String() string {
	if g.text == "" {
		return "constant"
	}
	return g.text
}

package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture/buddy"
)

// The second experiment: how much four queues of an unbalanced traffic lose, over T, and over the
// load; and the third: the same while what was worked on is forwarded.
var (
	pool       = variant{100, 256}
	thresholds = []float64{0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1}
	loads      = []float64{0.5, 0.625, 0.75, 0.875, 1, 1.25}
	traffics   = []traffic{shortTerm, longTerm}
)

const (
	overLoad  = 0.875           // load of the runs over T
	runLength = 4 * time.Second // of virtual time: each queue has one burst
)

// scenario is a run of the experiments.
type scenario struct {
	traffic string
	system
	load float64
}

// shares are the results.
type shares map[scenario]shared

// row is a row of a table: a system, with T if it does not vary.
type row struct {
	name string
	system
	varies bool // over T
	style  int
}

func rowsOf(forward bool) []row {
	rows := []row{
		{fmt.Sprintf("rings of %d", ringAlone), system{}, false, 0},
		{"basic", system{variant: pool, mode: buddy.Basic, forward: forward}, false, 1},
		{"advanced", system{variant: pool, mode: buddy.Chunks, forward: forward}, true, 2},
		{"whole flows", system{variant: pool, mode: buddy.Flows, forward: forward}, true, 3},
	}
	if forward {
		rows = rows[1:]
	}
	return rows
}

// at returns the system of a row for a T.
func (r row) at(threshold float64) system {
	s := r.system
	if r.varies {
		s.threshold = threshold
	}
	return s
}

// usual returns the system of a row for the T that a program gets.
func (r row) usual() system {
	if r.mode == buddy.Flows {
		return r.at(buddy.DefaultFlowThreshold)
	}
	return r.at(buddy.DefaultThreshold)
}

// runShares runs both experiments. The runs do not depend on each other, and use all cores.
func runShares(cost time.Duration) (shares, error) {
	results := shares{}
	byName := map[string]traffic{}
	for _, t := range traffics {
		byName[t.name] = t
		for _, forward := range []bool{false, true} {
			for _, r := range rowsOf(forward) {
				for _, threshold := range thresholds {
					results[scenario{t.name, r.at(threshold), overLoad}] = shared{}
				}
			}
		}
		for _, r := range rowsOf(false) {
			for _, load := range loads {
				results[scenario{t.name, r.usual(), load}] = shared{}
			}
		}
	}
	var threads sync.WaitGroup
	var mu sync.Mutex
	var errs error
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for s := range results {
		slots <- struct{}{}
		threads.Go(func() {
			r, err := share(s.system, byName[s.traffic], s.load, cost, runLength)
			mu.Lock()
			defer mu.Unlock()
			if results[s] = r; err != nil {
				errs = errors.Join(errs, fmt.Errorf("%s, %v, %v: %w", s.traffic, s.mode, s.threshold, err))
			}
			<-slots
		})
	}
	threads.Wait()
	return results, errs
}

// table writes the results as Markdown.
func (s shares) table(w io.Writer) error {
	for _, forward := range []bool{false, true} {
		for _, t := range traffics {
			title := t.name + ", T ="
			if forward {
				title = t.name + ", forwarding, T ="
			}
			if err := markdown(w, s.overThresholds(title, t.name, forward)); err != nil {
				return err
			}
		}
	}
	for _, t := range traffics {
		rows := [][]string{{t.name + ", load ="}}
		for _, load := range loads {
			rows[0] = append(rows[0], fmt.Sprintf("%.1f %%", load*100))
		}
		for _, r := range rowsOf(false) {
			name := r.name
			if r.varies {
				name += fmt.Sprintf(", T = %.0f %%", r.usual().threshold*100)
			}
			row := []string{name}
			for _, load := range loads {
				row = append(row, percents([]float64{s[scenario{t.name, r.usual(), load}].loss})...)
			}
			rows = append(rows, row)
		}
		if err := markdown(w, rows); err != nil {
			return err
		}
	}
	return nil
}

// overThresholds returns the rows of a table over T.
func (s shares) overThresholds(title, traffic string, forward bool) [][]string {
	rows := [][]string{{title}}
	for _, threshold := range thresholds {
		rows[0] = append(rows[0], fmt.Sprintf("%.0f %%", threshold*100))
	}
	for _, r := range rowsOf(forward) {
		lost, moved := []float64{}, []float64{}
		for _, threshold := range thresholds {
			one := s[scenario{traffic, r.at(threshold), overLoad}]
			lost, moved = append(lost, one.loss), append(moved, one.moved)
		}
		rows = append(rows, append([]string{r.name}, percents(lost)...))
		if r.varies && !forward {
			rows = append(rows, append([]string{"... of its frames moved"}, percents(moved)...))
		}
	}
	return rows
}

// plot plots the loss over T.
func (s shares) plot() plot {
	p := plot{title: "Frames lost of unbalanced traffic on four queues, over T", label: "Loss over the threshold"}
	for _, forward := range []bool{false, true} {
		for _, t := range traffics {
			one := panel{title: t.name, x: "T", percent: 50}
			if forward {
				one.title += ", forwarding"
			}
			for _, threshold := range []float64{0.2, 0.4, 0.6, 0.8, 1} {
				one.marks = append(one.marks, mark{threshold, fmt.Sprintf("%.0f %%", threshold*100)})
			}
			for _, r := range rowsOf(forward) {
				c := curve{name: r.name, style: r.style}
				for _, threshold := range thresholds {
					c.points = append(c.points, [2]float64{threshold, s[scenario{t.name, r.at(threshold), overLoad}].loss})
				}
				one.curves = append(one.curves, c)
			}
			p.panels = append(p.panels, one)
		}
	}
	return p
}

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/ixcap/ixcap/capture/clock"
)

// table is a table with a title; the first row is the head.
type table struct {
	title string
	rows  [][]string
}

func (t *table) add(row ...string) { t.rows = append(t.rows, row) }

// write writes the table, aligned or as Markdown.
func (t *table) write(w io.Writer, markdown bool) error {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, s := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(s))
		}
	}
	var b strings.Builder
	if markdown {
		fmt.Fprintf(&b, "%s:\n\n", t.title)
	} else {
		fmt.Fprintf(&b, "%s\n", t.title)
	}
	for n, row := range t.rows {
		if markdown {
			b.WriteString("| " + strings.Join(row, " | ") + " |\n")
			if n == 0 {
				b.WriteString("|---|" + strings.Repeat("---:|", len(row)-1) + "\n")
			}
			continue
		}
		for i, s := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(s))
			if i == 0 {
				b.WriteString("  " + s + pad)
			} else {
				b.WriteString("  " + pad + s)
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// ns formats nanoseconds with about three significant digits.
func ns(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a < 9.95:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v+0), ".0")
	case a < 99999.5:
		return fmt.Sprintf("%.0f", v)
	case a < 9.995e6:
		return fmt.Sprintf("%.0fk", v/1e3)
	default:
		return fmt.Sprintf("%.1fM", v/1e6)
	}
}

func ratio(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.2f", v)
}

// tables returns the tables of a measurement.
func tables(cells map[key]*cell, list []traffic, policies []clock.Policy) (all []*table) {
	for _, shared := range []bool{false, true} {
		if !has(cells, shared) {
			continue
		}
		where := "poller on a core of its own"
		if shared {
			where = "poller's core shared with a busy loop"
		}
		all = append(all,
			interTable(cells, list, policies, shared, where),
			absoluteTable(cells, list, policies, shared, where),
			machineTable(cells, list, policies, shared, where))
	}
	return all
}

func has(cells map[key]*cell, shared bool) bool {
	for k := range cells {
		if k.shared == shared {
			return true
		}
	}
	return false
}

// interTable returns Tables 4.1 and 4.2 of the thesis.
func interTable(cells map[key]*cell, list []traffic, policies []clock.Policy, shared bool, where string) *table {
	t := &table{title: "Error of inter-arrival times (observed minus true), ns, " + where}
	head := []string{"policy"}
	for _, tr := range list {
		head = append(head, tr.Name+": mean", "std", "99 % within", "std / packet")
		if !shared {
			head = append(head, "thesis std")
		}
	}
	t.add(head...)
	for _, p := range policies {
		row := []string{p.String()}
		for _, tr := range list {
			c := cells[key{tr.Name, p, shared}]
			if c == nil {
				row = append(row, "-", "-", "-", "-")
			} else {
				row = append(row, ns(c.Inter.Mean), ns(c.Inter.Std), ns(c.Inter.P99), ratio(c.ToPacket))
			}
			if shared {
				continue
			}
			if th, ok := thesis[key{tr.Name, p, false}]; ok {
				row = append(row, ns(th.std))
			} else {
				row = append(row, "-")
			}
		}
		t.add(row...)
	}
	row := []string{"(write-back)"}
	for _, tr := range list {
		n, _ := floorOf(cells, policies, tr.Name, shared)
		to := math.NaN()
		if c := cells[key{tr.Name, clock.PerPacket, shared}]; c != nil {
			to = n.Inter.Std / c.Inter.Std
		}
		row = append(row, ns(n.Inter.Mean), ns(n.Inter.Std), ns(n.Inter.P99), ratio(to))
		if !shared {
			row = append(row, "-")
		}
	}
	t.add(row...)
	return t
}

func absoluteTable(cells map[key]*cell, list []traffic, policies []clock.Policy, shared bool, where string) *table {
	t := &table{title: "Absolute error against the true arrival, ns, " + where}
	head := []string{"policy"}
	for _, tr := range list {
		head = append(head, tr.Name+": median", "mean", "95 %", "99 %")
	}
	t.add(head...)
	add := func(name string, of func(tr traffic) *distribution) {
		row := []string{name}
		for _, tr := range list {
			if d := of(tr); d != nil {
				row = append(row, ns(d.Median), ns(d.MeanOf), ns(d.P95), ns(d.P99))
			} else {
				row = append(row, "-", "-", "-", "-")
			}
		}
		t.add(row...)
	}
	for _, p := range policies {
		add(p.String(), func(tr traffic) *distribution {
			if c := cells[key{tr.Name, p, shared}]; c != nil {
				return &c.Absolute
			}
			return nil
		})
	}
	add("(write-back)", func(tr traffic) *distribution {
		n, _ := floorOf(cells, policies, tr.Name, shared)
		return &n.Delay
	})
	return t
}

// machineTable returns the noise of the machine, poll gaps and losses.
func machineTable(cells map[key]*cell, list []traffic, policies []clock.Policy, shared bool, where string) *table {
	t := &table{title: "Machine, " + where}
	t.add("traffic", "frames a run", "write-back after arrival, ns: mean", "std", "longest gap between polls, us (median)", "wire late, us (worst)", "frames lost (worst)")
	for _, tr := range list {
		n, _ := floorOf(cells, policies, tr.Name, shared)
		var gaps []float64
		var late float64
		var lost uint64
		for _, p := range policies {
			if c := cells[key{tr.Name, p, shared}]; c != nil {
				gaps = append(gaps, float64(c.Gap))
				late, lost = max(late, float64(c.LateWorst)), max(lost, c.LostWorst)
			}
		}
		t.add(tr.Name, fmt.Sprint(tr.Frames), ns(n.Delay.Mean), ns(n.Delay.Std), ns(median(gaps)/1e3), ns(late/1e3), fmt.Sprint(lost))
	}
	return t
}

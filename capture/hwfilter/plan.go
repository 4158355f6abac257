package hwfilter

import (
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/driver"
)

// Plan is what the chip does of rules.
type Plan struct {
	Filters []driver.Filter // for Port.SetFilters

	// FlowDirector is the setting that the filters need.
	FlowDirector driver.FlowDirector

	Rules []Split // by rule
}

// Split says what of a rule is in the chip.
type Split struct {
	Rule   string // as Rules.String has it
	Places []driver.Place
	Rest   []string // what is left to software, and why
}

// String is a line for a log: "(udp and port 53) drop: 4 filters in the chip; ...".
func (s Split) String() string {
	where := map[driver.Engine]int{}
	for _, p := range s.Places {
		where[p.Engine]++
	}
	var parts []string
	for e := driver.EtherTypeFilter; e <= driver.FlowDirectorFilter; e++ {
		switch n := where[e]; {
		case n == 1:
			parts = append(parts, "1 "+e.String())
		case n > 1 && e == driver.FlowDirectorFilter:
			parts = append(parts, fmt.Sprintf("%d of the %s", n, e))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, e))
		}
	}
	in := "nothing in the chip"
	if len(parts) > 0 {
		in = "in the chip: " + strings.Join(parts, ", ")
	}
	if len(s.Rest) > 0 {
		in += "; not in the chip: " + strings.Join(s.Rest, ", ")
	}
	return s.Rule + ": " + in
}

// Plan translates the rules for a port with that number of queues. A rule of which
// nothing can be in the chip is an error: use the rules of the capture for it.
func (r Rules) Plan(queues int) (Plan, error) {
	var p Plan
	c := driver.Config{Queues: queues}
	for _, x := range r.list {
		s := Split{Rule: fmt.Sprintf("(%s) %s", x.expression, x.action())}
		alternatives, rest := translate(x.expression)
		s.Rest = rest
		placed := 0
		for _, a := range alternatives {
			a.Drop, a.Queue = x.drop, x.queue
			mode, err := fit(&c, append(p.Filters[:len(p.Filters):len(p.Filters)], a.Filter))
			if err != nil {
				s.Rest = append(s.Rest, fmt.Sprintf("%s (%v)", a.text(), reason(err)))
				continue
			}
			c.FlowDirector = mode
			p.Filters = append(p.Filters, a.Filter)
			s.Rest = append(s.Rest, a.rest...)
			placed++
		}
		s.Rest = unique(s.Rest)
		if placed == 0 {
			return p, fmt.Errorf("filter %s: the chip can do nothing of it: %s. Use the rules of the capture", s.Rule, strings.Join(s.Rest, ", "))
		}
		places, err := c.PlaceFilters(p.Filters)
		if err != nil {
			return p, err
		}
		s.Places = places[len(places)-placed:]
		p.Rules = append(p.Rules, s)
	}
	p.FlowDirector = c.FlowDirector
	return p, nil
}

// fit returns the setting of the Flow Director with which a port can have the filters:
// off, if that suffices.
func fit(c *driver.Config, filters []driver.Filter) (driver.FlowDirector, error) {
	try := *c
	_, err := try.PlaceFilters(filters)
	if err == nil || c.FlowDirector != driver.NoFlowDirector {
		return c.FlowDirector, err
	}
	try.FlowDirector = driver.PerfectFlows
	_, err = try.PlaceFilters(filters)
	return driver.PerfectFlows, err
}

// reason is an error of PlaceFilters without the number of the filter.
func reason(err error) string {
	text := err.Error()
	if _, behind, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "filter ") {
		return behind
	}
	return text
}

func unique(list []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	return out
}

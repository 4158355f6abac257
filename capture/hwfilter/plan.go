package hwfilter

import (
	"errors"
	"fmt"
	"maps"
	"slices"
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

// Use is a number of filters of one kind.
type Use struct {
	Engine  driver.Engine
	Filters int
}

// Kind is the kind in words.
func (u Use) Kind() string {
	if u.Engine == driver.FlowDirectorFilter {
		return "Flow Director filter"
	}
	return u.Engine.String()
}

// String returns the number and the kind in words.
func (u Use) String() string {
	kind := u.Kind()
	if u.Filters != 1 {
		kind += "s"
	}
	return fmt.Sprintf("%d %s", u.Filters, kind)
}

// Chip returns the filters of the chip that the rule takes, by kind.
func (s Split) Chip() (all []Use) {
	where := map[driver.Engine]int{}
	for _, p := range s.Places {
		where[p.Engine]++
	}
	for e := driver.EtherTypeFilter; e <= driver.FlowDirectorFilter; e++ {
		if where[e] > 0 {
			all = append(all, Use{e, where[e]})
		}
	}
	return all
}

// String is a line for a log: "(udp and port 53) drop: in the chip: 4 5-tuple filters; ...".
func (s Split) String() string {
	var parts []string
	for _, u := range s.Chip() {
		parts = append(parts, u.String())
	}
	in := "in the chip: " + strings.Join(parts, ", ") // Plan refuses a rule without any
	if len(s.Rest) > 0 {
		in += "; not in the chip: " + strings.Join(s.Rest, ", ")
	}
	return s.Rule + ": " + in
}

// Plan translates the rules for a port that will be opened with that number of queues and
// that outer tag (driver.Config.OuterVLAN). A rule of which nothing can be in the chip is an
// error: use the rules of the capture for it.
func (r Rules) Plan(queues int, outer uint16) (Plan, error) {
	return r.plan(driver.Config{Queues: queues, OuterVLAN: outer}, fit)
}

// PlanOpen is Plan for a port that is open, whose Flow Director is on or off.
func (r Rules) PlanOpen(c driver.Config) (Plan, error) { return r.plan(c, fitOpen) }

func (r Rules) plan(c driver.Config, fit func(*driver.Config, []driver.Filter) (driver.FlowDirector, error)) (Plan, error) {
	var p Plan
	for _, x := range r.list {
		s := Split{Rule: fmt.Sprintf("(%s) %s", x.expression, x.action())}
		if !x.drop && x.queue >= c.Queues {
			return p, fmt.Errorf("filter %s: queue %d: want 0 to %d. Name one of these, or capture with more queues", s.Rule, x.queue, c.Queues-1)
		}
		alternatives, rest := translate(x.expression)
		s.Rest = rest
		placed, refused := 0, map[string]bool{}
		for _, a := range alternatives {
			if c.OuterVLAN != 0 && a.VLAN != 0 {
				s.Rest = append(s.Rest, fmt.Sprintf("%s (of frames with an outer tag the chip compares the inner one)", a.text()))
				continue
			}
			a.Drop, a.Queue = x.drop, x.queue
			mode, err := fit(&c, append(p.Filters[:len(p.Filters):len(p.Filters)], a.Filter))
			if err != nil {
				s.Rest = append(s.Rest, fmt.Sprintf("%s (%v)", a.text(), reason(err)))
				refused[reason(err)] = true
				continue
			}
			c.FlowDirector = mode
			p.Filters = append(p.Filters, a.Filter)
			s.Rest = append(s.Rest, a.rest...)
			placed++
		}
		s.Rest = unique(s.Rest)
		if len(alternatives) > 0 && placed == 0 && len(refused) == 1 {
			s.Rest = slices.AppendSeq(slices.Clone(rest), maps.Keys(refused)) // one reason for all
		}
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

// fitOpen returns the setting of the Flow Director of an open port, and whether it can have
// the filters.
func fitOpen(c *driver.Config, filters []driver.Filter) (driver.FlowDirector, error) {
	_, err := c.PlaceFilters(filters)
	if err == nil {
		return c.FlowDirector, nil
	}
	if would, other := fit(c, filters); other == nil && would != c.FlowDirector {
		err = errors.New("only the Flow Director can, which gets its memory when the port is opened: restart the capture")
	}
	return c.FlowDirector, err
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

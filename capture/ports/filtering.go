package ports

import (
	"fmt"
	"slices"
	"sync"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/hwfilter"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/rules"
)

// Filtering is what decides which frames of a capture are kept: filters of the chip (package
// hwfilter), software for what these leave, and the rules of each queue behind them. All of
// it changes while the capture runs. Any goroutine may call its methods.
type Filtering struct {
	port   string
	chip   *nic.Port // nil: the port has no filters
	engine *capture.Engine

	mu      sync.Mutex
	filters hwfilter.Rules
	plan    hwfilter.Plan
	own     []*rules.Rules // of each queue, without what the filters leave
}

// NewFiltering sets the filters of a port that is not started. own are the rules that the
// engine was made with.
func NewFiltering(device capture.Port, e *capture.Engine, filters hwfilter.Rules, own *rules.Rules) (*Filtering, error) {
	f := &Filtering{port: device.Name(), engine: e, own: slices.Repeat([]*rules.Rules{own}, e.Queues())}
	f.chip, _ = device.(*nic.Port)
	if !filters.Any() {
		return f, nil
	}
	return f, f.SetFilters(filters)
}

// SetFilters replaces the filters; an error changes nothing. A frame that arrives during the change meets the
// old filters, the new ones, or none; software drops those for which the new ones drop.
func (f *Filtering) SetFilters(filters hwfilter.Rules) error {
	if f.chip == nil {
		return fmt.Errorf("filters of %s: only an 82599 has filters in the port: use rules", f.port)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	plan, err := filters.PlanOpen(f.chip.Config())
	if err != nil {
		return err
	}
	var behind []*rules.Rules
	for _, own := range f.own {
		r, err := before(filters, own)
		if err != nil {
			return err
		}
		behind = append(behind, r)
	}
	if _, err := f.chip.SetFilters(plan.Filters); err != nil {
		return err
	}
	for q, r := range behind {
		if err := f.engine.SetRules(q, r); err != nil {
			return err
		}
	}
	f.filters, f.plan = filters, plan
	return nil
}

// SetRules sets the rules of a queue, or of capture.AllQueues, for the frames that the
// filters do not drop; nil keeps them whole.
func (f *Filtering) SetRules(queue int, own *rules.Rules) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := before(f.filters, own)
	if err != nil {
		return err
	}
	if err := f.engine.SetRules(queue, r); err != nil {
		return err
	}
	for q := range f.own {
		if queue == capture.AllQueues || queue == q {
			f.own[q] = own
		}
	}
	return nil
}

// Filters returns the filters, and what of each is in the chip.
func (f *Filtering) Filters() (hwfilter.Rules, hwfilter.Plan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.filters, f.plan
}

// before returns rules that drop what the filters drop and the chip does not, and then
// decide as r; nil keeps every frame whole.
func before(filters hwfilter.Rules, r *rules.Rules) (*rules.Rules, error) {
	text := filters.Software()
	if text == "" {
		return r, nil
	}
	if r != nil {
		text += r.String()
	}
	return rules.Parse(text)
}

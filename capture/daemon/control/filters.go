package control

import (
	"net/http"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/hwfilter"
)

// filterRules are the port's filters. The ledger has what software dropped for each.
func (p *controlled) filterRules(l capture.Ledger) (all []Filter) {
	if p.Filtering == nil {
		return nil
	}
	_, plan := p.Filtering.Filters()
	for _, s := range plan.Rules {
		f := Filter{Rule: s.Rule, Chip: []FilterKind{}, Software: []string{}}
		for _, u := range s.Chip() {
			f.Chip = append(f.Chip, FilterKind{u.Kind(), u.Filters})
		}
		f.Software = append(f.Software, s.Rest...)
		for _, q := range l.Queues {
			for _, r := range q.Rules {
				if r.Rule == s.Rule {
					f.Dropped += r.Frames
				}
			}
		}
		all = append(all, f)
	}
	return all
}

func (p *controlled) getFilters(*http.Request) (any, error) {
	l, err := p.engine.Ledger()
	if err != nil {
		return nil, refuse(http.StatusServiceUnavailable, "%w", err)
	}
	f := Filters{Name: p.Name, Port: l.Port, Filters: hwfilter.Rules{}.String(), Filtered: l.Account.Filtered, Rules: []Filter{}}
	if p.Filtering != nil {
		all, _ := p.Filtering.Filters()
		f.Filters = all.String()
	}
	f.Rules = append(f.Rules, p.filterRules(l)...)
	return f, nil
}

func (p *controlled) setFilters(r *http.Request) (any, error) {
	var want filtersRequest
	if err := decode(r, &want, `{"filters":"(udp and port 53) drop"}`); err != nil {
		return nil, err
	}
	if want.Filters == nil {
		return nil, refuse(http.StatusBadRequest, `no filters: send them as {"filters":"..."}; "none" removes them`)
	}
	parsed, err := hwfilter.Parse(*want.Filters)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, err}
	}
	if p.Filtering == nil {
		return nil, refuse(http.StatusConflict, "filters of %s: only an 82599 has filters in the port: use rules", p.name().Device)
	}
	if err := p.Filtering.SetFilters(parsed); err != nil {
		return nil, refusal{http.StatusConflict, err}
	}
	return p.getFilters(r)
}

package control

import (
	"net/http"
	"strings"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/ports"
)

// Port is one of the captures that a Server controls.
type Port struct {
	Name   string // required where there are several
	Engine *capture.Engine
	Rotate func() // begins new files; nil: nothing is stored

	// Awaited returns how many listeners of other processes each queue must have before
	// the port starts, and how many the queue with fewest has; 0 once it does not wait.
	// nil: it never waits.
	Awaited func() (attached, awaited int)

	Card Card // nil: the port has none

	Offering Offering // nil: the port cannot offer virtual functions

	Filtering *ports.Filtering // nil: the port has no filters, and the engine has the rules

	Retained func() retain.Stats // counters of retention; nil: nothing is stored
}

func (p *controlled) name() PortName {
	l, _ := p.engine.Ledger() // an error means that the counters are old
	return PortName{p.Name, l.Port}
}

// selected returns the port that a request names, or all ports.
func (h *handler) selected(r *http.Request) ([]*controlled, error) {
	query := r.URL.Query()
	if !query.Has("port") {
		return h.ports, nil
	}
	name := query.Get("port")
	if name == "" {
		return nil, refuse(http.StatusBadRequest, "port: empty: name one, or leave it out%s", h.alternatives())
	}
	for _, p := range h.ports {
		if p.Name == name {
			return []*controlled{p}, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "no port %q is captured here%s", name, h.alternatives())
}

// one returns the port that a request means.
func (h *handler) one(r *http.Request) (*controlled, error) {
	all, err := h.selected(r)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, refuse(http.StatusBadRequest, "%d ports are captured here: say which one is meant (hpcapctl --port NAME, or ?port=NAME)%s", len(all), h.alternatives())
	}
	return all[0], nil
}

func (h *handler) alternatives() string {
	var names []string
	for _, p := range h.ports {
		if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return ": the only one has no name"
	}
	return "; the ports are " + strings.Join(names, ", ")
}

func (h *handler) list(*http.Request) (any, error) {
	all := Ports{Ports: []PortName{}}
	for _, p := range h.ports {
		all.Ports = append(all.Ports, p.name())
	}
	return all, nil
}

// rotate begins new files on the ports that a request means.
func (h *handler) rotate(r *http.Request) (any, error) {
	ports, err := h.selected(r)
	if err != nil {
		return nil, err
	}
	done := Ports{Ports: []PortName{}}
	for _, p := range ports {
		if p.Rotate == nil {
			continue
		}
		p.Rotate()
		done.Ports = append(done.Ports, p.name())
	}
	if len(done.Ports) == 0 {
		return nil, refuse(http.StatusConflict, "nothing is stored: no file can be begun")
	}
	return done, nil
}

package control

import (
	"net/http"
	"strings"

	"github.com/ixcap/ixcap/capture"
)

// Port is one capture among those that are controlled together.
type Port struct {
	Name   string // "": that of its device; needed where there are several
	Engine *capture.Engine
	Rotate func() // begins new files; nil: nothing is stored
}

// Ports are what is captured.
type Ports struct {
	Ports []PortName `json:"ports"`
}

// PortName names a port.
type PortName struct {
	Name   string `json:"name"`   // among several
	Device string `json:"device"` // as pci.Open takes it
}

func (p *controlled) names() PortName {
	l, _ := p.engine.Ledger() // an error says that counters are old
	return PortName{p.Name, l.Port}
}

// chosen are the ports that a request means: the one that it names, or all.
func (h *handler) chosen(r *http.Request) ([]*controlled, error) {
	name := r.URL.Query().Get("port")
	if name == "" {
		return h.ports, nil
	}
	for _, p := range h.ports {
		if p.Name == name {
			return []*controlled{p}, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "no port %q is captured here%s", name, h.alternatives())
}

// one is the port that a request means.
func (h *handler) one(r *http.Request) (*controlled, error) {
	all, err := h.chosen(r)
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
		return "; there is one, without a name"
	}
	return "; there are " + strings.Join(names, ", ")
}

func (h *handler) list(*http.Request) (any, error) {
	all := Ports{Ports: []PortName{}}
	for _, p := range h.ports {
		all.Ports = append(all.Ports, p.names())
	}
	return all, nil
}

// rotate begins new files of all ports that are meant.
func (h *handler) rotate(r *http.Request) (any, error) {
	meant, err := h.chosen(r)
	if err != nil {
		return nil, err
	}
	done := Ports{Ports: []PortName{}}
	for _, p := range meant {
		if p.Rotate == nil {
			continue
		}
		p.Rotate()
		done.Ports = append(done.Ports, p.names())
	}
	if len(done.Ports) == 0 {
		return nil, refuse(http.StatusConflict, "nothing is stored, so there is no file to begin")
	}
	return done, nil
}

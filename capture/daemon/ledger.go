package daemon

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/ixcap/ixcap/capture"
)

// Ledger is how the capture of one port ended.
type Ledger struct {
	Name   string       // of the port; empty for that of a command line
	Device capture.Port // closed with the Daemon
	Ledger capture.Ledger
	Err    error // why the capture failed, or why the ledger does not balance
}

// Ledgers are those of all ports, in the order of the settings. Run must have
// returned.
func (d *Daemon) Ledgers() (all []Ledger) {
	for _, p := range d.ports {
		err := p.err
		if err == nil {
			err = p.ledger.Balanced()
		}
		all = append(all, Ledger{Name: p.Name, Device: p.device, Ledger: p.ledger, Err: p.named(err)})
	}
	return all
}

// captured reports whether there is a ledger: the port was started.
func (l Ledger) captured() bool { return len(l.Ledger.Queues) > 0 }

// WriteText writes the ledgers as text, each below the name of its port.
func WriteText(w io.Writer, all []Ledger) error {
	for _, l := range all {
		if !l.captured() {
			continue
		}
		if l.Name != "" {
			if _, err := io.WriteString(w, l.Name+":\n"); err != nil {
				return err
			}
		}
		if err := l.Ledger.WriteText(w); err != nil {
			return err
		}
	}
	return nil
}

// WriteJSON writes the ledger of a port without a name as it is, those of named
// ports as an object with a ledger for each name.
func WriteJSON(w io.Writer, all []Ledger) error {
	named := map[string]json.RawMessage{}
	for _, l := range all {
		if !l.captured() {
			continue
		}
		if l.Name == "" {
			return l.Ledger.WriteJSON(w)
		}
		var b bytes.Buffer
		if err := l.Ledger.WriteJSON(&b); err != nil {
			return err
		}
		named[l.Name] = b.Bytes()
	}
	if len(named) == 0 {
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(named)
}

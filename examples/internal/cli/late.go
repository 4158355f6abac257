package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/sim"
)

// WarnLate says so when port is the model's and its wire could not keep to its
// schedule for the time that the capture took: what was sent was then slower
// than what was asked for, and rates must not be read as if it had not been.
func WarnLate(w io.Writer, port capture.Port, took time.Duration) {
	p, ok := port.(*nic.Port)
	if !ok {
		return
	}
	d, ok := p.Device().(*sim.Device)
	if !ok {
		return
	}
	if late := d.NIC().Late(); late > took/100 {
		fmt.Fprintf(w, "the model's wire sent slower than asked for: it fell behind by %v in %v\n",
			late.Round(time.Millisecond), took.Round(time.Millisecond))
	}
}

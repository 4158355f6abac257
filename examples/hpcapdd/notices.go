package main

import (
	"fmt"
	"os"

	"github.com/ixcap/ixcap/driver"
)

// notices prints what the port has to tell, with the time, on standard error.
type notices struct{ down bool }

// tell is called by one goroutine at a time.
func (n *notices) tell(e driver.Event) {
	if e.Kind == driver.LinkChanged {
		if e.Link.Up && !n.down {
			return // coming up for the first time, as it should
		}
		n.down = !e.Link.Up
	}
	fmt.Fprintf(os.Stderr, "hpcapdd: warning: %s: %s\n", e.Time.Format("2006-01-02 15:04:05.000000"), e.Text)
}

package main

import (
	"fmt"
	"os"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

var logger = cli.Logger(os.Stderr, "hpcapdd")

// say prints one line on standard error.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "hpcapdd: "+format+"\n", args...)
}

// notices prints what a port has to tell, with the time.
type notices struct {
	port string // "name: ", or nothing
	down bool
}

// tell is called by one goroutine at a time.
func (n *notices) tell(e driver.Event) {
	if e.Kind == driver.LinkChanged {
		if e.Link.Up && !n.down {
			return // coming up for the first time, as it should
		}
		n.down = !e.Link.Up
	}
	say("warning: %s: %s%s", e.Time.Format("2006-01-02 15:04:05.000000"), n.port, e.Text)
}

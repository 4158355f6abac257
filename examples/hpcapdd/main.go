// Hpcapdd captures what ports receive to files, until the wire ends, the time is
// up, or SIGINT or SIGTERM; then it prints where every frame went.
//
//	hpcapdd -device URI [-queue N] -dir DIR|null [-share DIR] [-filter RULES] [-duration D] [-json] [flags]
//	hpcapdd [flags] IFACE QUEUE DIR|null
//	hpcapdd [-check] -config ixcap.toml
//
// A file is named after its first frame's time, port and queue, so that names
// sort as the files were captured, and ends in .part while it is written. RAW files
// have exactly the size of a segment but where a new one was begun early: at a
// full period (-rotate), at SIGHUP or hpcapctl rotate, and at the end.
//
// With -share other programs read the frames meanwhile (stream.Attach, or
// examples/creader), and hpcapctl shows and changes the capture. At the end they
// get what is left, as long as they go on reading.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/pci/vfio"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	_ "github.com/ixcap/ixcap/sim"
)

func main() { cli.Main("hpcapdd", run) }

func run(args []string) (err error) {
	o, s, err := parse(args)
	if err != nil {
		return err
	}
	if o.check {
		return check(os.Stdout, o, s)
	}
	pollers := 0
	for _, p := range s.Ports {
		if p.Mode != settings.Kernel {
			pollers += p.Queues
		}
	}
	cli.Processors(pollers)
	cli.Collector()
	signals := hangup()
	c, err := open(o, s)
	defer func() { err = errors.Join(err, c.close()) }()
	if err != nil {
		return err
	}
	interrupted := cli.Interrupted("hpcapdd")
	ctx := interrupted
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	if err := c.run(ctx, interrupted, signals); err != nil {
		return err
	}
	for _, p := range c.ports {
		if p.err == nil {
			p.err = p.ledger.Balanced()
		}
		if p.err == nil {
			cli.WarnLate(os.Stderr, p.device, time.Duration(p.ledger.Seconds*float64(time.Second)))
		}
		err = errors.Join(err, p.named(p.err))
	}
	return errors.Join(err, print(os.Stdout, c.ports, o.asJSON))
}

// print prints the ledgers of ports that have captured anything: one by itself, or
// each with its name.
func print(w io.Writer, ports []*port, asJSON bool) error {
	all := map[string]ledger{}
	for _, p := range ports {
		switch {
		case len(p.ledger.Queues) == 0:
		case p.Name == "" && asJSON:
			return p.ledger.WriteJSON(w)
		case asJSON:
			all[p.Name] = ledger{p.ledger}
		default:
			if p.Name != "" {
				if _, err := io.WriteString(w, p.Name+":\n"); err != nil {
					return err
				}
			}
			if err := p.ledger.WriteText(w); err != nil {
				return err
			}
		}
	}
	if !asJSON || len(all) == 0 {
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

// ledger is a ledger with its verdict as JSON.
type ledger struct{ capture.Ledger }

// MarshalJSON implements json.Marshaler.
func (l ledger) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := l.WriteJSON(&b)
	return b.Bytes(), err
}

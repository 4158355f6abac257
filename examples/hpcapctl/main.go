// Hpcapctl shows and changes a capture that runs elsewhere, such as hpcapdd
// -share, over its control socket.
//
//	hpcapctl [-socket PATH] [-port NAME] status|listeners|ledger|ports
//	hpcapctl [-socket PATH] detach LISTENER
//	hpcapctl [-socket PATH] policy LISTENER lossless|lossy|lossless,detach-after=TIME
//	hpcapctl [-socket PATH] filter [RULES|@FILE|none]
//	hpcapctl [-socket PATH] rotate
//
// It prints tables, or JSON with -json: the types of package control.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// answer is something to be shown to people, or as JSON.
type answer interface{ text(w io.Writer) error }

func main() { cli.Main("hpcapctl", run) }

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	c := control.NewClient(o.socket)
	defer c.Close()
	if o.port != "" {
		c = c.Port(o.port)
	}
	if o.watch == 0 {
		a, err := ask(context.Background(), c, o)
		if err != nil {
			return err
		}
		return show(os.Stdout, a, o)
	}
	ctx := cli.Interrupted("hpcapctl")
	terminal := cli.IsTerminal(os.Stdout) && !o.asJSON
	for tick := time.NewTicker(o.watch); ; {
		a, err := ask(ctx, c, o)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var page strings.Builder
		if err := show(&page, a, o); err != nil {
			return err
		}
		if terminal {
			fmt.Print("\x1b[H\x1b[2J") // from the top of an empty screen
		}
		if _, err := fmt.Print(page.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask asks for what is wanted: of the port that is meant, or of each in turn.
func ask(ctx context.Context, c *control.Client, o options) (answer, error) {
	do := commands[o.words[0]]
	if !do.each || o.port != "" || len(o.words) > 1 {
		return do.ask(ctx, c, o)
	}
	there, err := c.Ports(ctx)
	if err != nil {
		return nil, err
	}
	if len(there.Ports) == 1 {
		return do.ask(ctx, c, o)
	}
	var all several
	for _, p := range there.Ports {
		a, err := do.ask(ctx, c.Port(p.Name), o)
		if err != nil {
			return nil, err
		}
		all = append(all, named{p.Name, a})
	}
	return all, nil
}

// show prints an answer. JSON is one object: a line of it when watching.
func show(w io.Writer, a answer, o options) error {
	if !o.asJSON {
		return a.text(w)
	}
	e := json.NewEncoder(w)
	if o.watch == 0 {
		e.SetIndent("", "  ")
	}
	return e.Encode(a)
}

// Hpcapctl shows and changes a running capture over its control socket.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// answer prints as text or as JSON.
type answer interface{ text(w io.Writer) error }

func main() { cli.Main(command(run)) }

func run(r request, o options) error {
	c := control.NewClient(o.socket)
	defer c.Close()
	if o.port != "" {
		c = c.Port(o.port)
	}
	if o.watch == 0 {
		a, err := ask(context.Background(), c, r, o)
		if err != nil {
			return socketHint(o.socket, err)
		}
		return show(os.Stdout, a, o)
	}
	ctx := cli.Interrupted("hpcapctl")
	terminal := cli.IsTerminal(os.Stdout) && !o.asJSON
	for tick := time.NewTicker(o.watch.Duration()); ; {
		a, err := ask(ctx, c, r, o)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return socketHint(o.socket, err)
		}
		var page strings.Builder
		if err := show(&page, a, o); err != nil {
			return err
		}
		if terminal {
			fmt.Fprint(cli.Stdout, "\x1b[H\x1b[2J") // from the top of an empty screen
		}
		if _, err := fmt.Fprint(cli.Stdout, page.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// socketHint adds to an error, if no capture serves the socket, how to name another one.
func socketHint(socket string, err error) error {
	c, dial := net.Dial("unix", socket)
	switch {
	case dial == nil:
		_ = c.Close()
	case errors.Is(dial, unix.ENOENT) || errors.Is(dial, unix.ECONNREFUSED):
		return fmt.Errorf("%w, or name its socket with --socket or $%s", err, socketVariable)
	}
	return err
}

// ask asks the port that is named, or each port in turn.
func ask(ctx context.Context, c *control.Client, r request, o options) (answer, error) {
	if !r.each || o.port != "" || len(o.operands) > 0 {
		return r.ask(ctx, c, o)
	}
	there, err := c.Ports(ctx)
	if err != nil {
		return nil, err
	}
	if len(there.Ports) == 1 {
		return r.ask(ctx, c, o)
	}
	var all several
	for _, p := range there.Ports {
		a, err := r.ask(ctx, c.Port(p.Name), o)
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

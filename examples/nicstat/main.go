// Nicstat shows every counter of a port's device.
//
// Package capture/daemon/portstat does the work; this program has flags and output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/daemon/portstat"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(command(run)) }

// options are the command line.
type options struct {
	what       string // operand
	port       string
	watch      units.Duration
	all        bool
	asJSON     bool
	prometheus bool
}

// places are where captures share their sockets if nothing else is said.
var places = []string{"/run/ixcap/share", "/run/ixcap"}

func command(run func(options) error) *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "nicstat [flags] [DIR|PORT]",
		Short: "Show every counter of a port's device",
		Long: `Show every counter of a port's device, by its name in ethtool -S where that has it.

DIR has the sockets of a running capture (hpcapdd --share DIR), whose ports are read
through it: two programs cannot drive one port. PORT is a device or an interface. One
that a capture in /run/ixcap/share or /run/ixcap has is read there; another interface is
read from its driver in the kernel, as ethtool -S does. Default: the capture there.`,
		Example: `  nicstat /run/ixcap
  nicstat --watch 1s eth0
  nicstat --prometheus /run/ixcap`,
		Args: cli.Operands(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if len(args) > 0 {
				o.what = args[0]
			}
			if o.asJSON && o.prometheus {
				return cli.Usagef("--json and --prometheus: choose one")
			}
			if o.watch < 0 {
				return cli.Usagef("--watch %v: must be positive", o.watch)
			}
			return run(o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.port, "port", "", "`name` of one of several ports of the capture; default: all")
	flags.Var(&o.watch, "watch", "read again every `interval`, such as 1s, with rates")
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.BoolVar(&o.all, "all", false, "print counters that are 0, too")
		flags.BoolVar(&o.asJSON, "json", false, "print a line of JSON for each reading, with all counters (docs/JSON.md)")
		flags.BoolVar(&o.prometheus, "prometheus", false, "print all counters in the text format of Prometheus")
	})
	return cmd
}

func run(o options) error {
	ctx := cli.Interrupted("nicstat")
	source, err := portstat.Open(ctx, o.what, o.port, places)
	if err != nil {
		return err
	}
	defer source.Close()
	return show(ctx, portstat.New(source), o)
}

// show prints one report, or one every interval until ctx is done.
func show(ctx context.Context, m *portstat.Meter, o options) error {
	for {
		r, err := m.Sample(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		if err := page(&r, o); err != nil || o.watch == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.watch.Duration()):
		}
	}
}

// page prints a report.
func page(r *portstat.Report, o options) error {
	switch {
	case o.asJSON:
		return json.NewEncoder(cli.Stdout).Encode(r)
	case o.prometheus:
		return r.WritePrometheus(cli.Stdout)
	}
	var text strings.Builder
	if o.watch > 0 && cli.IsTerminal(os.Stdout) {
		text.WriteString("\x1b[H\x1b[2J") // from the top of an empty screen
	}
	_ = r.WriteText(&text, o.all) // into memory
	if o.watch > 0 && !cli.IsTerminal(os.Stdout) {
		text.WriteString("\n")
	}
	_, err := fmt.Fprint(cli.Stdout, text.String())
	return err
}

// Captop shows the threads that read a running capture: packets, rates, losses. It can be
// some of them.
//
// Package capture/daemon/meter does the work; this program has flags and output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/meter"
	"github.com/ixcap/ixcap/capture/fanout"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(command(run)) }

// options are the command line.
type options struct {
	dir      string // of the sockets
	count    meter.Config
	lossless bool
	group    int
	mode     string
	filter   string
	tunnels  string
	interval units.Duration
	duration units.Duration
	asJSON   bool
}

// places are where captures share their sockets if nothing else is said.
var places = []string{"/run/ixcap/share", "/run/ixcap"}

func command(run func(options) error) *cobra.Command {
	o := options{group: meter.NoGroup, interval: units.Duration(time.Second)}
	cmd := &cobra.Command{
		Use:   "captop [flags] [DIR]",
		Short: "Show the threads that read a capture: packets, rates, losses",
		Long: `Show the threads that read a running capture, a page every second: each listener and
member of a fan-out group, with its packets, rate, share of its group, and losses.

DIR has the sockets of the capture (hpcapdd --share DIR); default: /run/ixcap/share or
/run/ixcap. With --threads captop reads packets, too, and only counts them: as the load of
a measurement, alone or as members of a group beside other programs. It ends with the
capture.`,
		Example: `  captop /run/ixcap
  captop --threads 4 --group 7 --mode hash /run/ixcap
  captop --threads 1 --lossless --duration 10s --json /run/ixcap`,
		Args: cli.Operands(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if err := complete(cmd, &o, args); err != nil {
				return err
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Threads", func(flags *pflag.FlagSet) {
		flags.IntVar(&o.count.Threads, "threads", 0, "read packets and count them with this `number` of threads")
		flags.IntVar(&o.group, "group", meter.NoGroup, "be members of the fan-out group of this `number`, 0 to 65535; -1: of none, each reads every packet")
		flags.StringVar(&o.mode, "mode", "", "`mode` of the group: hash, lb, rnd, cpu, rollover, qm, consistent, filter or buddy; default: the group's, or hash")
		flags.StringVarP(&o.filter, "filter", "f", "", "packets that the threads get in mode filter, as a pcap `expression`")
		flags.StringVar(&o.tunnels, "tunnels", "", "hash what is inside these `tunnels`: mpls,gre,vxlan,gtpu")
		flags.BoolVar(&o.lossless, "lossless", false, "hold the capture back rather than lose packets")
		flags.StringVar(&o.count.Name, "name", "captop", "`name` of the threads")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.Var(&o.interval, "interval", "`time` between two pages")
		flags.Var(&o.duration, "duration", "end after this `time`; 0: no limit")
		flags.BoolVar(&o.asJSON, "json", false, "print a line of JSON for each page (docs/JSON.md)")
	})
	return cmd
}

// complete checks the command line.
func complete(cmd *cobra.Command, o *options, args []string) error {
	if o.dir = usual(); len(args) > 0 {
		o.dir = args[0]
	}
	if o.lossless {
		o.count.Policy = stream.Lossless
	} else {
		o.count.Policy = stream.Lossy
	}
	switch {
	case o.count.Threads < 0 || o.count.Threads > stream.MaxListeners:
		return cli.Usagef("--threads %d: must be 0 to %d", o.count.Threads, stream.MaxListeners)
	case o.interval <= 0:
		return cli.Usagef("--interval %v: must be positive", o.interval)
	case o.group == meter.NoGroup && (o.mode != "" || o.filter != "" || o.tunnels != ""):
		return cli.Usagef("--mode, --filter and --tunnels: go with --group")
	case o.count.Threads == 0 && (o.group != meter.NoGroup || o.lossless || cmd.Flags().Changed("name")):
		return cli.Usagef("no threads that read: name their number with --threads")
	case o.mode == fanout.Filter.String() && o.filter == "":
		return cli.Usagef("--mode filter: name the packets with --filter EXPRESSION")
	case o.group == meter.NoGroup:
		return nil
	}
	lines := []string{fmt.Sprintf("group=%d", o.group)}
	for _, l := range [][2]string{{"mode", o.mode}, {"filter", o.filter}, {"tunnels", o.tunnels}} {
		if l[1] != "" {
			lines = append(lines, l[0]+"="+l[1])
		}
	}
	o.count.Fanout = strings.Join(lines, "\n")
	if _, err := fanout.ParseSettings(o.count.Fanout); err != nil {
		return cli.Usagef("%w", err)
	}
	return nil
}

// usual is the first of the usual places with a capture.
func usual() string {
	for _, dir := range places {
		if _, err := os.Stat(controlSocket(dir)); err == nil {
			return dir
		}
	}
	return places[0]
}

func controlSocket(dir string) string { return filepath.Join(dir, "control.sock") }

func run(o options) error {
	ctx, stop := context.WithCancel(cli.Interrupted("captop"))
	defer stop()
	begin := func() { // of the duration: attaching may take long
		if o.duration > 0 {
			time.AfterFunc(o.duration.Duration(), stop)
		}
	}
	c := control.NewClient(controlSocket(o.dir))
	defer c.Close()
	if o.count.Threads == 0 {
		begin()
		return show(ctx, c, o)
	}
	sockets, err := query.Sockets(o.dir)
	if err != nil {
		return err
	}
	shown, attached := make(chan error, 1), false
	err = meter.Count(ctx, sockets, o.count, func() {
		attached = true
		begin()
		go func() {
			shown <- show(ctx, c, o)
			stop() // without pages there is nothing to count for
		}()
	})
	stop()
	if attached {
		err = errors.Join(err, <-shown)
	}
	return err
}

// show prints pages until ctx is done or the capture has ended.
func show(ctx context.Context, c *control.Client, o options) error {
	m := meter.New(c)
	terminal := cli.IsTerminal(os.Stdout) && !o.asJSON
	tick := time.NewTicker(o.interval.Duration())
	defer tick.Stop()
	for first := true; ; first = false {
		r, err := m.Sample(ctx)
		switch {
		case err != nil && (ctx.Err() != nil || !first):
			return nil // told to end, or the capture has ended
		case err != nil:
			return err
		}
		if err := page(&r, terminal, o.asJSON); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// page prints a report.
func page(r *meter.Report, terminal, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cli.Stdout).Encode(r)
	}
	var text strings.Builder
	if terminal {
		text.WriteString("\x1b[H\x1b[2J") // from the top of an empty screen
	}
	_ = r.WriteText(&text) // into memory
	if !terminal {
		text.WriteString("\n")
	}
	_, err := cli.Stdout.Write([]byte(text.String()))
	return err
}

package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const (
	socketVariable = "IXCAP_CONTROL"
	defaultSocket  = "/run/ixcap/control.sock"
	serviceSocket  = "/run/ixcap/share/control.sock" // of examples/systemd/ixcap.service
)

// usual returns the default socket.
func usual() string {
	if _, err := os.Stat(serviceSocket); err == nil {
		if _, err := os.Stat(defaultSocket); err != nil {
			return serviceSocket
		}
	}
	return defaultSocket
}

// options are the command line.
type options struct {
	socket string
	asJSON bool
	watch  units.Duration
	queue  int
	port   string

	operands []string
}

// request is one of the commands.
type request struct {
	use, short string
	operands   [2]int // least and most
	watch      bool   // --watch makes sense
	each       bool   // without --port it is asked of each port
	ask        func(ctx context.Context, c *control.Client, o options) (answer, error)
}

var requests = []request{
	{"status", "Show what is captured and lost, the clock, filters of the port, and each queue", [2]int{0, 0}, true, true,
		func(ctx context.Context, c *control.Client, _ options) (answer, error) {
			s, err := c.Status(ctx)
			return status{s}, err
		}},
	{"listeners", "Show each listener: policy, lag, frames missed; fan-out groups with their members; listeners that have detached", [2]int{0, 0}, true, true,
		func(ctx context.Context, c *control.Client, _ options) (answer, error) {
			l, err := c.Listeners(ctx)
			return listeners{l}, err
		}},
	{"ledger", "Show what became of every frame so far", [2]int{0, 0}, true, true,
		func(ctx context.Context, c *control.Client, _ options) (answer, error) {
			l, err := c.Ledger(ctx)
			return ledger{l}, err
		}},
	{"module", "Show the SFP+ module of an 82599 and what it measures", [2]int{0, 0}, true, true,
		func(ctx context.Context, c *control.Client, _ options) (answer, error) {
			m, err := c.Module(ctx)
			return module{m}, err
		}},
	{"blink [DURATION]", "Make the LED of an 82599 port blink, 10s unless given", [2]int{0, 1}, false, false,
		func(ctx context.Context, c *control.Client, o options) (answer, error) {
			d := units.Duration(10 * time.Second)
			if len(o.operands) > 0 {
				if err := d.Set(o.operands[0]); err != nil {
					return nil, err
				}
			}
			p, err := c.Blink(ctx, d.Duration())
			return ports{control.Ports{Ports: []control.PortName{p}}, ": the LED blinks for " + d.String()}, err
		}},
	{"ports", "Show the ports that are captured", [2]int{0, 0}, false, false,
		func(ctx context.Context, c *control.Client, _ options) (answer, error) {
			p, err := c.Ports(ctx)
			return ports{p, ""}, err
		}},
	{"rotate", "Begin new files", [2]int{0, 0}, false, false,
		func(ctx context.Context, c *control.Client, _ options) (answer, error) {
			p, err := c.Rotate(ctx)
			return ports{p, ": new files begin with the next frames"}, err
		}},
	{"detach LISTENER", "Detach a listener", [2]int{1, 1}, false, false,
		func(ctx context.Context, c *control.Client, o options) (answer, error) {
			l, err := c.Detach(ctx, o.operands[0])
			return listener{l, "detached"}, err
		}},
	{"policy LISTENER lossless|lossy|lossless,detach-after=DURATION", "Set how a listener is treated that is slower than the traffic", [2]int{2, 2}, false, false,
		func(ctx context.Context, c *control.Client, o options) (answer, error) {
			l, err := c.SetPolicy(ctx, o.operands[0], o.operands[1])
			return listener{l, "policy " + control.PolicyText(l.Policy, l.DetachAfter)}, err
		}},
	{"rules [RULES|@FILE|none]", "Show or replace the rules that select what is kept", [2]int{0, 1}, false, true,
		func(ctx context.Context, c *control.Client, o options) (answer, error) {
			if len(o.operands) == 0 {
				f, err := c.Rules(ctx)
				return ruleSets{f}, err
			}
			rules, err := settings.Text(o.operands[0])
			if err != nil {
				return nil, err
			}
			f, err := c.SetRules(ctx, o.queue, rules)
			return ruleSets{f}, err
		}},
	{"filters [FILTERS|@FILE|none]", "Show or replace the filters of an 82599 itself, which drop frames before memory", [2]int{0, 1}, false, true,
		func(ctx context.Context, c *control.Client, o options) (answer, error) {
			if len(o.operands) == 0 {
				f, err := c.Filters(ctx)
				return filters{f}, err
			}
			text, err := settings.Text(o.operands[0])
			if err != nil {
				return nil, err
			}
			f, err := c.SetFilters(ctx, text)
			return filters{f}, err
		}},
}

// command is the command line; run is called with what it says.
func command(run func(request, options) error) *cobra.Command {
	o := options{queue: capture.AllQueues}
	cmd := &cobra.Command{
		Use:   "hpcapctl [flags] COMMAND",
		Short: "Show and change a running capture over its control socket",
		Long: `Show and change a running capture (hpcapdd --share) over its control socket.

Where several ports are captured, --port names one. Without it a command that shows
something shows it of each port, and rotate means all.
A LISTENER is QUEUE:ID, or its name if no other listener has that name.`,
		Example: `  hpcapctl status --watch 1s
  hpcapctl policy monitor lossless,detach-after=2s
  hpcapctl rules '(udp and port 53) all; (tcp or sctp) 96; drop'
  hpcapctl rules none
  hpcapctl filters '(udp and src port 4789) drop'`,
		Args: cli.NoOperands,
		RunE: func(*cobra.Command, []string) error {
			return cli.Usagef("no command: name one of status, listeners, ledger, module, blink, ports, rotate, detach, policy, rules, filters")
		},
	}
	global := cmd.PersistentFlags()
	global.StringVar(&o.socket, "socket", cmp.Or(os.Getenv(socketVariable), usual()), "`path` of the control socket; $"+socketVariable+" sets another default")
	global.BoolVar(&o.asJSON, "json", false, "print JSON (docs/JSON.md)")
	global.StringVar(&o.port, "port", "", "`name` of the port, where several are captured")
	for _, r := range requests {
		sub := &cobra.Command{
			Use: r.use, Short: r.short,
			Args: cli.Operands(r.operands[0], r.operands[1]),
			RunE: func(sub *cobra.Command, args []string) error {
				if err := cli.NotEmpty(sub); err != nil {
					return err
				}
				if slices.ContainsFunc(args, cli.Blank) {
					return cli.Usagef("%s: an operand is empty. Usage: %s", sub.Name(), sub.UseLine())
				}
				if o.queue < capture.AllQueues || o.queue != capture.AllQueues && len(args) == 0 {
					return cli.Usagef("--queue %d: must be 0 or more and goes with new rules", o.queue)
				}
				o.operands = args
				return run(r, o)
			},
		}
		if r.watch {
			cli.Group(sub, "Output", func(flags *pflag.FlagSet) {
				flags.VarP(&o.watch, "watch", "", "ask again every `interval`, such as 1s")
			})
		}
		if sub.Name() == "filters" {
			sub.Long = sub.Short + `.

FILTERS are (EXPRESSION) drop and (EXPRESSION) queue N, separated by ; or lines; of several
that match a frame the first decides. What the chip cannot compare of a drop, software
drops; both are shown. No frame is lost by the change. See docs/CARD.md.`
			sub.Example = "  hpcapctl filters\n  hpcapctl filters '(udp and src port 4789) drop; (host 192.0.2.1) queue 2'\n  hpcapctl filters none"
		}
		if sub.Name() == "rules" {
			sub.Example = "  hpcapctl rules\n  hpcapctl rules '(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128'"
			cli.Group(sub, "Rules", func(flags *pflag.FlagSet) {
				flags.IntVar(&o.queue, "queue", capture.AllQueues, "set the rules of this `queue` only; the default is all")
			})
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

package main

import (
	"cmp"
	"context"
	"flag"
	"os"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const (
	socketVariable = "IXCAP_CONTROL"
	defaultSocket  = "/run/ixcap/control.sock"
	serviceSocket  = "/run/ixcap/share/control.sock" // of examples/systemd/ixcap.service
)

// usual is the socket that is asked for when nobody says which.
func usual() string {
	if _, err := os.Stat(serviceSocket); err == nil {
		if _, err := os.Stat(defaultSocket); err != nil {
			return serviceSocket
		}
	}
	return defaultSocket
}

const usage = `usage: hpcapctl [flags] status|listeners|ledger|ports
       hpcapctl [flags] detach LISTENER
       hpcapctl [flags] policy LISTENER lossless|lossy|lossless,detach-after=TIME
       hpcapctl [flags] filter [RULES|@FILE|none]
       hpcapctl [flags] rotate

status     what is captured and lost, the clock, and each queue
listeners  who reads: policy, how far behind, how much was missed; and who has left
ledger     what became of every frame so far
ports      what is captured there
detach     lets a listener go
policy     changes how a listener is treated that is slower than the traffic
filter     shows or replaces the rules of what is kept; none keeps every frame whole:
           '(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128'
rotate     begins new files

Where several ports are captured, -port says which one is meant. Without it what
only shows something shows it of each, and rotate means all.
A LISTENER is QUEUE:ID, or its name if nobody else has it.
`

// options are what the command line says.
type options struct {
	socket string
	asJSON bool
	watch  time.Duration
	queue  int
	port   string
	words  []string
}

// command is one of what can be asked for.
type command struct {
	words  int // at least, the command's own included
	most   int
	repeat bool // -watch makes sense
	each   bool // of several ports all are shown
	ask    func(ctx context.Context, c *control.Client, o options) (answer, error)
}

var commands = map[string]command{
	"status": {1, 1, true, true, func(ctx context.Context, c *control.Client, _ options) (answer, error) {
		s, err := c.Status(ctx)
		return status{s}, err
	}},
	"listeners": {1, 1, true, true, func(ctx context.Context, c *control.Client, _ options) (answer, error) {
		l, err := c.Listeners(ctx)
		return listeners{l}, err
	}},
	"ledger": {1, 1, true, true, func(ctx context.Context, c *control.Client, _ options) (answer, error) {
		l, err := c.Ledger(ctx)
		return ledger{l}, err
	}},
	"ports": {1, 1, false, false, func(ctx context.Context, c *control.Client, _ options) (answer, error) {
		p, err := c.Ports(ctx)
		return ports{p, ""}, err
	}},
	"rotate": {1, 1, false, false, func(ctx context.Context, c *control.Client, _ options) (answer, error) {
		p, err := c.Rotate(ctx)
		return ports{p, ": new files begin with what comes next"}, err
	}},
	"detach": {2, 2, false, false, func(ctx context.Context, c *control.Client, o options) (answer, error) {
		l, err := c.Detach(ctx, o.words[1])
		return listener{l, "detached"}, err
	}},
	"policy": {3, 3, false, false, func(ctx context.Context, c *control.Client, o options) (answer, error) {
		l, err := c.SetPolicy(ctx, o.words[1], o.words[2])
		return listener{l, "policy is " + control.PolicyText(l.Policy, l.DetachAfter)}, err
	}},
	"filter": {1, 2, false, true, func(ctx context.Context, c *control.Client, o options) (answer, error) {
		if len(o.words) == 1 {
			f, err := c.Filter(ctx)
			return filters{f}, err
		}
		rules, err := settings.Text(o.words[1])
		if err != nil {
			return nil, err
		}
		f, err := c.SetFilter(ctx, o.queue, rules)
		return filters{f}, err
	}},
}

// parse takes flags before, between and after the words.
func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("hpcapctl", flag.ContinueOnError)
	flags.StringVar(&o.socket, "socket", cmp.Or(os.Getenv(socketVariable), usual()), "`path` of the control socket; $"+socketVariable+" sets another default")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON")
	flags.DurationVar(&o.watch, "watch", 0, "ask again every `interval`, such as 1s")
	flags.StringVar(&o.port, "port", "", "`name` of the port that is meant, where several are captured")
	flags.IntVar(&o.queue, "queue", capture.AllQueues, "`queue` that gets the rules; all by default")
	for {
		if err := cli.Parse(flags, args, usage); err != nil {
			return o, err
		}
		if flags.NArg() == 0 {
			break
		}
		o.words, args = append(o.words, flags.Arg(0)), flags.Args()[1:]
	}
	if len(o.words) == 0 {
		return o, cli.Usagef("nothing to do: say status, listeners, ledger, ports, detach, policy, filter or rotate")
	}
	c, known := commands[o.words[0]]
	switch {
	case !known:
		return o, cli.Usagef("%q: say status, listeners, ledger, ports, detach, policy, filter or rotate", o.words[0])
	case len(o.words) < c.words && c.words == 2:
		return o, cli.Usagef("detach whom? hpcapctl listeners shows who is there")
	case len(o.words) < c.words:
		return o, cli.Usagef("policy wants a listener and lossless, lossy or lossless,detach-after=TIME")
	case len(o.words) > c.most:
		return o, cli.Usagef("unexpected argument %q", o.words[c.most])
	case o.watch < 0:
		return o, cli.Usagef("watch every %v: want a time above 0", o.watch)
	case o.watch != 0 && !c.repeat:
		return o, cli.Usagef("-watch goes with status, listeners and ledger")
	case o.queue < capture.AllQueues:
		return o, cli.Usagef("queue %d: want a number from 0", o.queue)
	case o.queue != capture.AllQueues && (o.words[0] != "filter" || len(o.words) == 1):
		return o, cli.Usagef("-queue goes with the rules of filter")
	}
	return o, nil
}

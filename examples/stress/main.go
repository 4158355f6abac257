package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/sim"
)

const usage = `usage: stress [-duration 10m] [-size 60] [-queues 1] [-listeners 8] [-seed N]
`

// options are what the command line says.
type options struct {
	duration          time.Duration
	size              string
	queues, listeners int
	buffer            units.Size
	seed              uint64
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == guestWord {
		cli.Main("stress guest", guest)
	}
	cli.Main("stress", run)
}

func run(args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "stress for %v, frames of %s bytes at line rate, %d queues, up to %d guests; -seed %d repeats the choices\n",
		o.duration, o.size, o.queues, o.listeners, o.seed)
	before, err := countHeld()
	if err != nil {
		return err
	}
	ledger, done, err := stress(o, os.Stderr)
	if err != nil {
		return err
	}
	if err := ledger.WriteText(os.Stdout); err != nil {
		return err
	}
	fmt.Println(done)
	after, err := countHeld()
	if err == nil {
		err = after.more(before)
	}
	return errors.Join(ledger.Balanced(), err)
}

// stress captures for the time wanted and has the troubles at work meanwhile.
func stress(o options, progress io.Writer) (l capture.Ledger, done troubles, err error) {
	cli.Processors(o.queues)
	cli.Collector()
	dir, err := os.MkdirTemp("", "ixcap-stress-")
	if err != nil {
		return l, done, err
	}
	defer os.RemoveAll(dir)
	engine, _, err := nic.NewEngine("sim:gen,rate=line,flows=64,size="+o.size, nic.Config{Queues: o.queues}, capture.Config{Buffer: int(o.buffer)})
	if err != nil {
		return l, done, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()

	h := newHouse(engine, dir, o)
	if err := h.open(); err != nil {
		return l, done, errors.Join(err, h.close())
	}
	if err := engine.Start(); err != nil {
		return l, done, errors.Join(err, h.close())
	}
	ctx, cancel := context.WithTimeout(cli.Interrupted("stress"), o.duration)
	defer cancel()
	err = h.run(ctx, progress)
	err = errors.Join(err, h.settle(), engine.Stop(), h.close())
	l, lerr := engine.Ledger()
	return l, h.done, errors.Join(err, lerr, h.verify())
}

func parse(args []string) (o options, err error) {
	o.buffer = 64 << 20
	flags := flag.NewFlagSet("stress", flag.ContinueOnError)
	flags.DurationVar(&o.duration, "duration", 10*time.Minute, "go on for this `time`")
	flags.StringVar(&o.size, "size", "60", "`length` of the frames in bytes, a range such as 60-1514, or imix")
	flags.IntVar(&o.queues, "queues", 1, "`number` of receive queues")
	flags.IntVar(&o.listeners, "listeners", 8, "most `guests` at a time on a queue, beside the witness")
	flags.Var(&o.buffer, "buffer", "`size` of each queue's buffer, a power of two")
	flags.Uint64Var(&o.seed, "seed", rand.Uint64(), "`number` that decides what happens when")
	if err := cli.Parse(flags, args, usage); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, cli.Usagef("unexpected argument %q", flags.Arg(0))
	case o.duration <= 0:
		return o, cli.Usagef("duration %v: want a time to come", o.duration)
	case o.queues < 1:
		return o, cli.Usagef("%d queues: want at least 1", o.queues)
	case o.listeners < 1 || o.listeners >= stream.MaxListeners:
		return o, cli.Usagef("%d listeners: want 1 to %d", o.listeners, stream.MaxListeners-1)
	}
	return o, nil
}

func socket(dir string, queue int) string {
	return filepath.Join(dir, fmt.Sprintf("queue%d.sock", queue))
}

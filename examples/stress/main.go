package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/sim"
)

type options struct {
	duration          units.Duration
	size              string
	queues, listeners int
	buffer            units.Size
	zeroCopy          bool
	seed              uint64
}

func main() { cli.Main(command(run)) }

func run(o options) error {
	fmt.Fprintf(cli.Stderr, "stress for %v, frames of %s bytes at line rate, %d queues, up to %d clients per queue; --seed %d repeats the events\n",
		o.duration, o.size, o.queues, o.listeners, o.seed)
	before, err := countResources()
	if err != nil {
		return err
	}
	ledger, counts, err := stress(o, cli.Stderr)
	if err != nil {
		return err
	}
	if err := ledger.WriteText(os.Stdout); err != nil {
		return err
	}
	fmt.Println(counts)
	after, err := countResources()
	if err == nil {
		err = after.leaked(before)
	}
	return errors.Join(ledger.Balanced(), err)
}

// stress captures for the duration with events.
func stress(o options, progress io.Writer) (l capture.Ledger, counts eventCounts, err error) {
	cli.SetGCPercent()
	dir, err := os.MkdirTemp("", "ixcap-stress-")
	if err != nil {
		return l, counts, err
	}
	defer os.RemoveAll(dir)
	port := nic.Config{Queues: o.queues}
	if o.zeroCopy {
		if port, err = nic.WithPools(port, int(o.buffer)); err != nil {
			return l, counts, err
		}
	}
	engine, _, err := nic.NewEngine("sim:gen,rate=line,flows=64,size="+o.size, port, capture.Config{Buffer: int(o.buffer)})
	if err != nil {
		return l, counts, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()

	h := newHarness(engine, dir, o)
	if err := h.start(); err != nil {
		return l, counts, errors.Join(err, h.close())
	}
	if err := engine.Start(); err != nil {
		return l, counts, errors.Join(err, h.close())
	}
	ctx, cancel := context.WithTimeout(cli.Interrupted("stress"), o.duration.Duration())
	defer cancel()
	err = h.run(ctx, progress)
	err = errors.Join(err, h.resumeAll(), engine.Stop(), h.close())
	l, lerr := engine.Ledger()
	return l, h.counts, errors.Join(err, lerr, h.verify())
}

func command(run func(options) error) *cobra.Command {
	o := options{duration: units.Duration(10 * time.Minute), buffer: 64 << 20}
	cmd := &cobra.Command{
		Use:   "stress [flags]",
		Short: "Attach, detach, stop and kill listeners at full speed; check that every frame is accounted for",
		Example: `  stress --duration 10m
  stress --duration 1m --seed 42`,
		Args: cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cli.NotEmpty(cmd) != nil:
				return cli.NotEmpty(cmd)
			case o.duration <= 0:
				return cli.Usagef("--duration %v: must be positive", o.duration)
			case o.queues < 1:
				return cli.Usagef("--queues %d: must be 1 or more", o.queues)
			case o.listeners < 1 || o.listeners >= stream.MaxListeners:
				return cli.Usagef("--listeners %d: must be 1 to %d", o.listeners, stream.MaxListeners-1)
			}
			if o.seed == 0 {
				o.seed = rand.Uint64()
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Load", func(flags *pflag.FlagSet) {
		flags.Var(&o.duration, "duration", "run for this `time`")
		flags.StringVar(&o.size, "size", "60", "`length` of the frames in bytes, a range such as 60-1514, or imix")
		flags.IntVar(&o.queues, "queues", 1, "`number` of receive queues")
		flags.IntVar(&o.listeners, "listeners", 8, "largest `number` of client processes on a queue at a time")
		flags.VarP(&o.buffer, "buffer", "B", "`size` of each queue's buffer, a power of two")
		flags.BoolVar(&o.zeroCopy, "zero-copy", false, "leave the frames in ring-buffer pools of about the buffer's size")
		flags.Uint64Var(&o.seed, "seed", 0, "`seed` of the sequence of events; 0: a random one")
	})
	cmd.AddCommand(clientCommand())
	return cmd
}

func socket(dir string, queue int) string {
	return filepath.Join(dir, fmt.Sprintf("queue%d.sock", queue))
}

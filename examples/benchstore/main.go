// Benchstore compares the throughput of a disk with that of storing on it:
//
//	raw          blocks written in sequence with O_DIRECT
//	stream SIZE  producer without a rate limit ─► stream ─► storer
//	null SIZE    producer ─► stream ─► reader that stores nothing: the producer's cost
//	model SIZE   software 82599 ─► driver ─► engine ─► storer
//
// The measurements alternate, round by round, and the medians are printed. The target is
// the lower of the disk's throughput and 10 GbE line rate, in bytes stored.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/sim"
)

type options struct {
	dir            string
	bytes          units.Size // stored by one measurement
	block          units.Size
	buffer         units.Size
	segment        units.Size
	rounds, depth  int
	noIndex, model bool
	grow, json     bool
	zeroCopy       bool
}

func main() {
	cli.Main(command(func(o options) error { return run(os.Stdout, o) }))
}

func command(run func(options) error) *cobra.Command {
	o := options{bytes: 2 << 30, block: rawstore.Block, buffer: 256 << 20, segment: 2 << 30, dir: "."}
	cmd := &cobra.Command{
		Use:   "benchstore [flags]",
		Short: "Compare storing with what the disk can do",
		Long: `Compare storing with what the disk can do: the disk written directly, a stream
that is stored, and the whole chain with the model, in alternation. The medians of all
rounds are printed.`,
		Example: "  benchstore -w /data0 --rounds 5",
		Args:    cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cli.NotEmpty(cmd) != nil:
				return cli.NotEmpty(cmd)
			case o.rounds < 1 || o.depth < 1:
				return cli.Usagef("--rounds %d --depth %d: each must be 1 or more", o.rounds, o.depth)
			case o.bytes < 2*o.block:
				return cli.Usagef("--bytes %v: must be at least two blocks of %v", o.bytes, o.block)
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Measurement", func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.dir, "write", "w", o.dir, "measure the file system of this `directory`; files go to a temporary directory in it")
		flags.Var(&o.bytes, "bytes", "write this `size` in each measurement")
		flags.IntVar(&o.rounds, "rounds", 3, "repeat each measurement `N` times")
		flags.BoolVar(&o.model, "model", true, "measure the chain with the model, too")
		flags.BoolVar(&o.zeroCopy, "zero-copy", false, "in that chain frames stay in ring-buffer pools, until the storer copies them")
	})
	cli.Group(cmd, "Storage", func(flags *pflag.FlagSet) {
		flags.Var(&o.block, "block", "`size` of a block: 1MiB to 4MiB")
		flags.IntVar(&o.depth, "depth", 4, "`number` of blocks in flight")
		flags.VarP(&o.buffer, "buffer", "B", "`size` of the stream")
		flags.VarP(&o.segment, "segment", "C", "`size` of a file")
		flags.BoolVar(&o.noIndex, "no-index", false, "write no index files")
		flags.BoolVar(&o.grow, "grow", false, "extend files before they are written (rawstore.Config.Grow), also when the disk is written directly")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.BoolVar(&o.json, "json", false, "print the medians as JSON")
	})
	return cmd
}

func run(w io.Writer, o options) error {
	sched.AddPollers(slog.New(slog.DiscardHandler), 1) // the producer that is no engine's
	cli.SetGCPercent()
	dir, err := os.MkdirTemp(o.dir, "benchstore-")
	if err != nil {
		return fmt.Errorf("create a temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	o.dir = dir
	rows, err := measure(o, cli.Stderr)
	if err != nil {
		return err
	}
	if o.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	}
	return printTable(w, o, rows)
}

// printTable prints a line for each measurement.
func printTable(w io.Writer, o options, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tGB/s\tof target\tCPU s/GB\tstoring s/GB\t  %d rounds, GB/s\t\n", o.rounds)
	for _, r := range rows {
		ratio, storing := "", ""
		if r.Target > 0 {
			ratio = fmt.Sprintf("%.3f", r.GBps/r.Target)
		}
		if r.Storing > 0 {
			storing = fmt.Sprintf("%.3f", r.Storing)
		}
		fmt.Fprintf(t, "%s\t%.3f\t%s\t%.3f\t%s\t  %.2f to %.2f\t\n", r.Name, r.GBps, ratio, r.CPU, storing, r.Least, r.Most)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Unindexed > 0 {
			fmt.Fprintf(w, "%s: %s without index: too little processor time\n", r.Name, units.Plural(r.Unindexed, "file"))
		}
	}
	_, err := fmt.Fprintf(w, "target: the lower of raw and 10 GbE line rate (stored: %.3f GB/s at 1514 bytes, %.3f GB/s at 60 bytes)\n",
		lineRate(1514), lineRate(60))
	return err
}

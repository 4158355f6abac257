// Benchstore measures, on one file system and in one run, what the disk can do
// and what storing makes of it:
//
//	raw          blocks written one after the other with O_DIRECT, nothing else
//	stream SIZE  a producer that never waits -> stream -> storer, and the same with
//	             nothing stored (null), which is what the producer costs
//	model SIZE   the whole chain: the software 82599 -> driver -> engine -> storer
//
//	benchstore [-w DIR] [--bytes 2GiB] [--rounds 3] [--block 1MiB] [--depth 4] [--json]
//
// Machines are shared and disks moody, so the measures take turns, round by round,
// and medians count. The target is what the disk can do or the line rate of
// 10 GbE, in bytes stored, whichever is lower.
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
	bytes, block   units.Size // bytes of one measurement
	buffer         units.Size
	segment        units.Size
	rounds, depth  int
	noIndex, model bool
	grow, json     bool
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
that is stored, and the whole chain with the model, in turn and several times.`,
		Example: "  benchstore -w /data0 --rounds 5",
		Args:    cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cli.NotEmpty(cmd) != nil:
				return cli.NotEmpty(cmd)
			case o.rounds < 1 || o.depth < 1:
				return cli.Usagef("--rounds %d --depth %d: must be 1 or more", o.rounds, o.depth)
			case o.bytes < 2*o.block:
				return cli.Usagef("--bytes %v: must be at least two blocks of %v", o.bytes, o.block)
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Measurement", func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.dir, "write", "w", o.dir, "measure the file system of this `directory`; files go to a temporary directory in it")
		flags.Var(&o.bytes, "bytes", "write this `size` in each measurement")
		flags.IntVar(&o.rounds, "rounds", 3, "measure everything `N` times")
		flags.BoolVar(&o.model, "model", true, "measure the chain with the model, too")
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
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir
	rows, err := measure(o, os.Stderr)
	if err != nil {
		return err
	}
	if o.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(rows)
	}
	return print(w, o, rows)
}

// print writes the table.
func print(w io.Writer, o options, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tGB/s\tof the target\tCPU s/GB\tof it storing\t  of %d rounds (GB/s)\t\n", o.rounds)
	for _, r := range rows {
		ratio, own := "", ""
		if r.Target > 0 {
			ratio = fmt.Sprintf("%.3f", r.GBps/r.Target)
		}
		if r.Storing > 0 {
			own = fmt.Sprintf("%.3f", r.Storing)
		}
		fmt.Fprintf(t, "%s\t%.3f\t%s\t%.3f\t%s\t  %.2f to %.2f\t\n", r.Name, r.GBps, ratio, r.CPU, own, r.Least, r.Most)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Lagging > 0 {
			fmt.Fprintf(w, "%s: %d files were stored without their sidecar, for want of processor time\n", r.Name, r.Lagging)
		}
	}
	_, err := fmt.Fprintf(w, "target: the disk's own, or 10 GbE at line rate (%.3f GB/s stored at 1514 bytes, %.3f at 60), whichever is lower\n",
		lineRate(1514), lineRate(60))
	return err
}

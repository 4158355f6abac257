// Benchstore measures, on one file system and in one run, what the disk can do
// and what storing makes of it:
//
//	raw          blocks written one after the other with O_DIRECT, nothing else
//	stream SIZE  a producer that never waits -> stream -> storer, and the same with
//	             nothing stored (null), which is what the producer costs
//	model SIZE   the whole chain: the software 82599 -> driver -> engine -> storer
//
//	benchstore [-dir DIR] [-bytes 2GiB] [-rounds 3] [-block 1MiB] [-depth 4] [-json]
//
// Machines are shared and disks moody, so the measures take turns, round by round,
// and medians count. The target is what the disk can do or the line rate of
// 10 GbE, in bytes stored, whichever is lower.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/sim"
)

const usage = `usage: benchstore [-dir DIR] [-bytes SIZE] [-rounds N] [-block SIZE] [-depth N] [-buffer SIZE] [-noindex] [-grow] [-model=false] [-json]
`

// options are what the command line says.
type options struct {
	dir            string
	bytes, block   units.Size // bytes of one measurement
	buffer         units.Size
	segment        units.Size
	rounds, depth  int
	noIndex, model bool
	grow           bool
}

func main() { cli.Main("benchstore", func(args []string) error { return run(os.Stdout, args) }) }

func run(w io.Writer, args []string) error {
	o := options{bytes: 2 << 30, block: rawstore.Block, buffer: 256 << 20, segment: 2 << 30}
	flags := flag.NewFlagSet("benchstore", flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", ".", "`folder` on the file system to be measured; a folder is made in it, and removed")
	flags.Var(&o.bytes, "bytes", "`size` of what each measurement writes")
	flags.IntVar(&o.rounds, "rounds", 3, "measure everything `N` times")
	flags.Var(&o.block, "block", "`size` of a block: 1MiB to 4MiB")
	flags.IntVar(&o.depth, "depth", 4, "`number` of blocks in flight")
	flags.Var(&o.buffer, "buffer", "`size` of the stream")
	flags.Var(&o.segment, "segment", "`size` of a file")
	flags.BoolVar(&o.noIndex, "noindex", false, "make no sidecars")
	flags.BoolVar(&o.grow, "grow", false, "lengthen files before they are written (rawstore.Config.Grow), the disk's measure included")
	flags.BoolVar(&o.model, "model", true, "measure the chain with the model, too")
	asJSON := flags.Bool("json", false, "print the medians as JSON")
	if err := cli.Parse(flags, args, usage); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", flags.Arg(0))
	case o.rounds < 1 || o.depth < 1:
		return cli.Usagef("want at least one round, and one block in flight")
	case o.bytes < 2*o.block:
		return cli.Usagef("%v to be written: want at least two blocks of %v", o.bytes, o.block)
	}
	cli.Processors(2)
	cli.Collector()
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
	if *asJSON {
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

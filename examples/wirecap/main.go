// Wirecap repeats an experiment of WireCAP with the driver's ring-buffer pools: bursts at wire
// speed against a slow consumer, on the software 82599, in virtual time.
package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() { cli.Main(command()) }

// options are the command line.
type options struct {
	longest uint64
	cost    units.Duration
	svg     string
	force   bool
}

func command() *cobra.Command {
	o := options{cost: units.Duration(25 * time.Microsecond)}
	cmd := &cobra.Command{
		Use:   "wirecap [flags]",
		Short: "Repeat WireCAP's experiment with bursts, in virtual time",
		Long: `Send bursts of the smallest frames at the speed of a 10 Gb/s line to one receive queue whose
consumer is slow, and print what is lost over the length of the burst: with ring-buffer
pools of R chunks of M buffers, and with a descriptor ring alone. See docs/WIRECAP.md.

The line, the software 82599 and the consumer have a time of their own, which does not
depend on the machine. Only the driver is the real one.`,
		Example: `  wirecap
  wirecap --cost 10us --longest 1000000 --svg bursts.svg`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			return cli.NoOperands(cmd, args)
		},
		RunE: func(*cobra.Command, []string) error {
			switch {
			case o.longest < lengths[0] || o.longest > 1e9:
				return cli.Usagef("--longest %d: want %d to 1000000000", o.longest, lengths[0])
			case o.cost.Duration() <= 0 || o.cost.Duration() > time.Second:
				return cli.Usagef("--cost %v: want more than 0, at most 1s", o.cost)
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Experiment", func(flags *pflag.FlagSet) {
		flags.Uint64Var(&o.longest, "longest", 10_000_000, "longest burst, in `frames`")
		flags.Var(&o.cost, "cost", "`time` that a frame costs the consumer")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.StringVar(&o.svg, "svg", "", "plot the loss to this `file`")
		flags.BoolVar(&o.force, "force", false, "replace the file")
	})
	return cmd
}

// lengths of bursts, as in the paper: 1,000 to 10 million frames.
var lengths = []uint64{1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000}

// series is a plot: variants that are compared.
type series struct {
	title    string
	variants []variant
}

var experiment = []series{
	{"R x M grows", []variant{{}, {32, 256}, {64, 256}, {128, 256}, {256, 256}, {512, 256}}},
	{"R x M is constant", []variant{{64, 1024}, {128, 512}, {256, 256}, {512, 128}, {1024, 64}}},
}

func run(o options) error {
	all := slices.DeleteFunc(slices.Clone(lengths), func(n uint64) bool { return n > o.longest })
	results := map[variant]result{}
	for _, s := range experiment {
		for _, v := range s.variants {
			if _, done := results[v]; done {
				continue
			}
			r, err := burst(v, o.cost.Duration(), all)
			if err != nil {
				return fmt.Errorf("%v: %w", v, err)
			}
			results[v] = r
		}
	}
	if o.svg != "" {
		out, err := cli.CreateText(o.svg, nil, o.force)
		if err != nil {
			return err
		}
		defer out.Close()
		if err := plot(out, all, results); err != nil {
			return err
		}
		if err := out.Commit(); err != nil {
			return err
		}
	}
	return cli.Print(func(w io.Writer) error { return table(w, all, results) })
}

// table writes the results as Markdown: a row for each variant.
func table(w io.Writer, all []uint64, results map[variant]result) error {
	for _, s := range experiment {
		rows := [][]string{{s.title, "R x M", "survived"}, {"---"}}
		for _, n := range all {
			rows[0] = append(rows[0], count(n))
		}
		rows[1] = slices.Repeat(rows[1], len(rows[0]))
		for _, v := range s.variants {
			r := results[v]
			row := []string{v.String(), fmt.Sprint(v.buffers()), fmt.Sprint(r.survived)}
			for _, part := range r.loss {
				row = append(row, fmt.Sprintf("%.1f %%", part*100))
			}
			rows = append(rows, row)
		}
		for _, row := range rows {
			if _, err := fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | ")); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return nil
}

// count is a number of frames in short.
func count(n uint64) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

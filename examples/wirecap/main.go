// Wirecap repeats the experiments of WireCAP with the driver's ring-buffer pools and with buddy
// groups: bursts at wire speed against a slow consumer, and unbalanced traffic on four
// queues, captured and forwarded. They run on the software 82599, in virtual time.
package main

import (
	"errors"
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
	experiment     string
	longest        uint64
	cost           units.Duration
	svg, sharesSVG string
	force          bool
}

func command() *cobra.Command {
	o := options{cost: units.Duration(25 * time.Microsecond)}
	cmd := &cobra.Command{
		Use:   "wirecap [flags]",
		Short: "Repeat WireCAP's experiments, in virtual time",
		Long: `Experiment "bursts" sends bursts of the smallest frames at the speed of a 10 Gb/s line to one
receive queue whose consumer is slow, and prints what is lost over the length of the
burst: with ring-buffer pools of R chunks of M buffers, and with a descriptor ring alone.

Experiment "shares" sends unbalanced traffic to four receive queues, and prints what is
lost over the threshold T above which a queue's backlog is shared, and over the load:
in WireCAP's basic and advanced mode, and when whole flows are moved. It does so once more
while all frames are forwarded to a second port. See docs/WIRECAP.md.

The line, the software 82599 and the consumer have a time of their own, which does not
depend on the machine. Only the driver is the real one.`,
		Example: `  wirecap
  wirecap --experiment shares --shares-svg shares.svg
  wirecap --experiment bursts --cost 10us --longest 1000000 --svg bursts.svg`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			return cli.NoOperands(cmd, args)
		},
		RunE: func(*cobra.Command, []string) error {
			switch {
			case !slices.Contains([]string{"all", "bursts", "shares"}, o.experiment):
				return cli.Usagef("--experiment %q: want all, bursts or shares", o.experiment)
			case o.longest < lengths[0] || o.longest > 1e9:
				return cli.Usagef("--longest %d: want %d to 1000000000", o.longest, lengths[0])
			case o.cost.Duration() <= 0 || o.cost.Duration() > time.Second:
				return cli.Usagef("--cost %v: want more than 0, at most 1s", o.cost)
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Experiment", func(flags *pflag.FlagSet) {
		flags.StringVar(&o.experiment, "experiment", "all", "run this `experiment`: bursts, shares or all")
		flags.Uint64Var(&o.longest, "longest", 10_000_000, "longest burst, in `frames`")
		flags.Var(&o.cost, "cost", "`time` that a frame costs the consumer")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.StringVar(&o.svg, "svg", "", "plot the loss of bursts to this `file`")
		flags.StringVar(&o.sharesSVG, "shares-svg", "", "plot the loss of unbalanced traffic to this `file`")
		flags.BoolVar(&o.force, "force", false, "replace the files")
	})
	return cmd
}

func run(o options) error {
	var tables []func(io.Writer) error
	if o.experiment != "shares" {
		b, err := runBursts(o.cost.Duration(), o.longest)
		if err != nil {
			return err
		}
		if err := draw(o.svg, b.plot(), o.force); err != nil {
			return err
		}
		tables = append(tables, b.table)
	}
	if o.experiment != "bursts" {
		s, err := runShares(o.cost.Duration())
		if err != nil {
			return err
		}
		if err := draw(o.sharesSVG, s.plot(), o.force); err != nil {
			return err
		}
		tables = append(tables, s.table)
	}
	return cli.Print(func(w io.Writer) (err error) {
		for _, table := range tables {
			err = errors.Join(err, table(w))
		}
		return err
	})
}

// draw writes a plot to a file, unless it has no name.
func draw(name string, p plot, force bool) error {
	if name == "" {
		return nil
	}
	out, err := cli.CreateText(name, nil, force)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := p.write(out); err != nil {
		return err
	}
	return out.Commit()
}

// markdown writes a table: rows, of which the first is the head.
func markdown(w io.Writer, rows [][]string) error {
	rows = slices.Insert(rows, 1, slices.Repeat([]string{"---"}, len(rows[0])))
	for _, row := range rows {
		if _, err := fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | ")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// percents formats parts.
func percents(parts []float64) (texts []string) {
	for _, part := range parts {
		texts = append(texts, fmt.Sprintf("%.1f %%", part*100))
	}
	return texts
}

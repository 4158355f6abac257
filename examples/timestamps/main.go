// Timestamps measures the accuracy of a capture's timestamps on the software 82599,
// which records when each frame arrived:
//
//	traffic ─► model ─► driver ─► capture ─► stream ─► stamps ─┐
//	             └────────────── arrivals ─────────────────────┴─► errors ─► tables, plot, verdicts
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() {
	cli.Main(command(func(o options) error { return o.run(cli.Interrupted("timestamps"), cli.Stdout) }))
}

// options are the command line.
type options struct {
	trace, fallback string
	passes, fifo    int
	duration, limit units.Duration
	policies        string
	only            string
	shared          bool
	markdown        bool
	json, svg       string
	force           bool
	retries         int
}

func command(run func(options) error) *cobra.Command {
	o := options{duration: units.Duration(time.Second), limit: units.Duration(time.Minute)}
	cmd := &cobra.Command{
		Use:   "timestamps [flags]",
		Short: "Measure the accuracy of timestamps on the software 82599",
		Long: `Measure the accuracy of a capture's timestamps on the software 82599, which knows when
each frame arrived: every policy on the three traffics of the HPCAP thesis (Tables 4.1
and 4.2), beside the thesis's figures. docs/TIMESTAMPS.md explains the result.

The poller gets the last core that this process may use, the model and everything else
the other cores: run it on a machine without other work.`,
		Example: `  timestamps --fifo 10 --markdown --svg timestamps.svg
  timestamps --passes 1 --traffic wire --policies packet,adaptive`,
		Args: cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cli.NotEmpty(cmd) != nil:
				return cli.NotEmpty(cmd)
			case o.passes < 1:
				return cli.Usagef("--passes %d: must be 1 or more", o.passes)
			case o.duration.Duration() < time.Millisecond:
				return cli.Usagef("--duration %v: must be 1ms or more", o.duration)
			case o.retries < 0:
				return cli.Usagef("--retries %d: must be 0 or more", o.retries)
			case o.fifo != 0 && (o.fifo < lowestFIFO || o.fifo > highestFIFO):
				return cli.Usagef("--fifo %d: must be %d to %d (two priorities below it are used, too), or 0 for none", o.fifo, lowestFIFO, highestFIFO)
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Measurement", func(flags *pflag.FlagSet) {
		flags.StringVar(&o.trace, "trace", "../shared/pcaps/real-mix.pcap", "pcap `file` of the second and third traffic")
		flags.StringVar(&o.fallback, "fallback", "testdata/hosts.pcap", "pcap `file` to use if the trace does not exist")
		flags.IntVar(&o.passes, "passes", 5, "run each measurement `N` times, in turn; figures are medians")
		flags.Var(&o.duration, "duration", "approximate `time` of a run; a quarter of it for the trace at wire speed")
		flags.Var(&o.limit, "limit", "longest `time` of a run")
		flags.StringVar(&o.policies, "policies", "packet,batch,uniform,weighted,adaptive,sample=2,sample=4,sample=8", "`list` of policies")
		flags.StringVar(&o.only, "traffic", "1514,wire,original", "`list` of traffics")
		flags.BoolVar(&o.shared, "shared", true, "measure with a busy loop on the poller's core, too")
		flags.IntVar(&o.fifo, "fifo", 0, "SCHED_FIFO `priority` of the model's thread, and of a poller that has its core to itself; 0: none")
		flags.IntVar(&o.retries, "retries", 3, "repeat a run that lost frames up to `N` times, unless its core is shared")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.BoolVar(&o.markdown, "markdown", false, "print the tables as Markdown")
		flags.StringVar(&o.json, "json", "", "write every run and the summary to this `file`")
		flags.StringVar(&o.svg, "svg", "", "write a plot of the distributions to this `file`")
		flags.BoolVar(&o.force, "force", false, "replace files that exist")
	})
	return cmd
}

func (o *options) run(ctx context.Context, out io.Writer) error {
	policies, err := parsePolicies(o.policies)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "timestamps")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := os.Stat(o.trace); errors.Is(err, os.ErrNotExist) && o.fallback != "" {
		logf("%s does not exist: using %s", o.trace, o.fallback)
		o.trace = o.fallback
	}
	list, description, err := traffics(o.trace, dir, o.duration.Duration())
	if err != nil {
		return err
	}
	outputs, err := o.create()
	if err != nil {
		return err
	}
	defer outputs.close()
	if list, err = selectTraffics(list, o.only); err != nil {
		return err
	}
	runs, repeated, err := o.measure(ctx, list, policies)
	if err != nil {
		return err
	}
	cells := summarise(runs)
	fmt.Fprintf(out, "%s; %d passes; trace %s\n", machineName(), o.passes, description)
	fmt.Fprintf(out, "%d of %d runs repeated because of lost frames; %d steps of the machine's clock\n\n", repeated, len(runs)+repeated, steps(runs))
	for _, t := range tables(cells, list, policies) {
		if err := t.write(out, o.markdown); err != nil {
			return err
		}
	}
	verdicts := evaluateAdaptive(cells, list)
	for _, v := range verdicts {
		word := "FAIL"
		if v.OK {
			word = "PASS"
		}
		fmt.Fprintf(out, "%s  %s\n", word, v.Text)
	}
	return errors.Join(
		outputs.save(o.json, func(w io.Writer) error { return report(w, description, list, policies, runs, cells, verdicts) }),
		outputs.save(o.svg, func(w io.Writer) error { return plot(w, cells, list, policies) }))
}

// measure makes all runs: in every pass each traffic with each policy, so that slow
// changes of the machine affect all alike. It returns the runs and the number of runs
// that were repeated because they lost frames.
func (o *options) measure(ctx context.Context, list []traffic, policies []clock.Policy) (runs []*result, repeated int, err error) {
	sched.AddPollers(slog.New(slog.DiscardHandler), 1) // the busy loop
	c, err := findCores()
	if err != nil {
		return nil, 0, err
	}
	// No collection during a run, because it stops the poller.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	all := o.cases(list, policies)
	for pass := range o.passes {
		for _, k := range all {
			r, tries, err := o.repeat(ctx, setup{cores: c, limit: o.limit.Duration(), fifo: o.fifo}, k, pass)
			if err != nil {
				return nil, 0, err
			}
			runs, repeated = append(runs, r), repeated+tries-1
		}
	}
	return runs, repeated, nil
}

// testCase is what one run measures.
type testCase struct {
	traffic traffic
	policy  clock.Policy
	shared  bool
}

// cases returns the cases of a pass in order.
func (o *options) cases(list []traffic, policies []clock.Policy) (all []testCase) {
	for _, t := range list {
		for _, p := range policies {
			all = append(all, testCase{t, p, false})
		}
		for _, p := range policies {
			if o.shared {
				all = append(all, testCase{t, p, true})
			}
		}
	}
	return all
}

// repeat runs a case until a run loses no frame, at most retries times more. With a
// shared core it runs once. It returns the last run and the number of runs.
func (o *options) repeat(ctx context.Context, s setup, k testCase, pass int) (r *result, tries int, err error) {
	for {
		runtime.GC()
		if r, err = s.measure(ctx, k.traffic, k.policy, k.shared); err != nil {
			return nil, 0, err
		}
		r.Pass = pass
		tries++
		core := ""
		if k.shared {
			core = ", core shared"
		}
		logf("pass %d, %s, %v%s: inter-arrival error std %s ns, 99 %% within %s ns; absolute error median %s ns; write-back std %s ns; %d frames lost",
			pass+1, k.traffic.Name, k.policy, core, ns(r.Inter.Std), ns(r.Inter.P99), ns(r.Absolute.Median), ns(r.Noise.Inter.Std), r.Lost)
		if r.Lost == 0 || k.shared || tries > o.retries {
			return r, tries, nil
		}
	}
}

func logf(format string, args ...any) { fmt.Fprintf(cli.Stderr, "timestamps: "+format+"\n", args...) }

func steps(runs []*result) (n uint64) {
	for _, r := range runs {
		n += r.Steps
	}
	return n
}

func parsePolicies(list string) (policies []clock.Policy, err error) {
	for word := range strings.SplitSeq(list, ",") {
		p, err := clock.ParsePolicy(word)
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		policies = append(policies, p)
	}
	return policies, nil
}

// selectTraffics returns the traffics named in a list.
func selectTraffics(all []traffic, list string) (chosen []traffic, err error) {
	for word := range strings.SplitSeq(list, ",") {
		found := false
		for _, t := range all {
			if t.Name == word {
				chosen, found = append(chosen, t), true
			}
		}
		if !found {
			return nil, cli.Usagef("traffic %q: choose from 1514, wire and original", word)
		}
	}
	return chosen, nil
}

// outputs are the files to write, by name.
type outputs map[string]*cli.Output

// create creates the files, before the measurement.
func (o *options) create() (outputs, error) {
	files := outputs{}
	for _, name := range []string{o.json, o.svg} {
		if name == "" {
			continue
		}
		f, err := cli.CreateText(name, []string{o.trace}, o.force)
		if err != nil {
			files.close()
			return nil, err
		}
		files[name] = f
	}
	return files, nil
}

// save calls write for the file of this name, if there is one, and commits it.
func (o outputs) save(name string, write func(w io.Writer) error) error {
	f := o[name]
	if f == nil {
		return nil
	}
	if err := write(f); err != nil {
		return err
	}
	return f.Commit()
}

// close discards the files that have not been saved.
func (o outputs) close() {
	for _, f := range o {
		_ = f.Close() // nothing was to be kept
	}
}

// report writes the runs, the summary and the verdicts as JSON.
func report(w io.Writer, description string, list []traffic, policies []clock.Policy, runs []*result, cells map[key]*cell, verdicts []verdict) error {
	var ordered []*cell
	for _, t := range list {
		for _, shared := range []bool{false, true} {
			for _, p := range policies {
				if c := cells[key{t.Name, p, shared}]; c != nil {
					ordered = append(ordered, c)
				}
			}
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(document{machineName(), description, list, ordered, verdicts, runs})
}

// document is what --json writes.
type document struct {
	Machine  string    `json:"machine"`
	Trace    string    `json:"trace"`
	Traffics []traffic `json:"traffics"`
	Summary  []*cell   `json:"summary"`
	Verdicts []verdict `json:"verdicts"`
	Runs     []*result `json:"runs"`
}

// machineName returns the processor's name and the number of cores.
func machineName() string {
	name := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				name = strings.TrimSpace(v)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores", name, runtime.NumCPU())
}

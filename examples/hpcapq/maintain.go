package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// errProblems is the error of a run that has printed problems.
var errProblems = errors.New("problems found, see above")

// result is printed for each file (docs/JSON.md).
type result struct {
	index.Report
	Done  []string `json:"done,omitempty"`
	Error string   `json:"error,omitempty"`
}

// maintenance is a command for files.
type maintenance struct {
	what, short string
	asJSON, dry bool
	paths       []string
}

var maintenances = []maintenance{
	{what: "verify", short: "Read files completely and report problems: structure, time order, missing segments, index"},
	{what: "repair", short: "Cut damaged ends, finish files of killed writers, rebuild missing and wrong indices"},
	{what: "info", short: "Print a line for each file: time range, frames, bytes, gaps"},
}

// command returns the command line, which calls run.
func (m maintenance) command(run func(maintenance, io.Writer) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: m.what + " [flags] DIR|FILE...", Short: m.short,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cli.Usagef("%s: no files: name a directory with stored files, or files", m.what)
			}
			if slices.Contains(args, "") {
				return cli.Usagef("%s \"\": the path is empty. Name a directory with stored files, or files", m.what)
			}
			m.paths = args
			return run(m, os.Stdout)
		},
	}
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.BoolVar(&m.asJSON, "json", false, "print JSON, one object on a line for each file (docs/JSON.md)")
		if m.what == "repair" {
			flags.BoolVarP(&m.dry, "dry-run", "n", false, "print what would be done, change nothing")
		}
	})
	return cmd
}

// maintain verifies, repairs or describes files.
func maintain(c maintenance, w io.Writer) error {
	if err := setIOPriority(idle); err != nil {
		cli.Logger(cli.Stderr, "hpcapq", false).Warn(err.Error())
	}
	files, err := archive.List(c.paths...)
	if err != nil {
		return err
	}
	m := maintainer{what: c.what, dry: c.dry, out: w, sequence: c.what != "repair" && directories(c.paths)}
	m.print = m.text
	if c.asJSON {
		lines := json.NewEncoder(w)
		m.print = func(r result) error { return lines.Encode(r) }
	}
	for _, f := range files {
		if err := m.file(f); err != nil {
			return err
		}
	}
	if m.problems {
		return errProblems
	}
	return nil
}

// directories reports whether all paths are directories, in which missing segments can
// be detected.
func directories(paths []string) bool {
	for _, p := range paths {
		if info, err := os.Stat(p); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

type maintainer struct {
	what     string
	dry      bool
	sequence bool
	out      io.Writer
	print    func(result) error
	previous index.Report
	problems bool
}

func (m *maintainer) file(f archive.File) error {
	var r result
	var err error
	switch {
	case f.Packets && m.what == "repair":
		err = m.finish(f, &r)
	case f.Packets:
		r.Report, err = index.VerifyPackets(f)
	case m.what == "verify":
		r.Report, err = index.Verify(f)
	case m.what == "repair":
		r.Report, r.Done, err = index.Repair(f, m.dry)
	default:
		r.Report, err = index.Inspect(f)
	}
	if err != nil {
		r.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if m.sequence {
		r.After(&m.previous)
		m.previous = r.Report
	}
	m.problems = m.problems || r.Error != "" || len(r.Problems) > 0
	return m.print(r)
}

// finish closes a packet file whose writer died. Other damage of packet files stays.
func (m *maintainer) finish(f archive.File, r *result) (err error) {
	r.Report, err = index.VerifyPackets(f)
	if err != nil || !f.Part || !f.Stored() || r.Writing {
		return err
	}
	r.Done = []string{"close it after its last whole packet or zstd frame"}
	if m.dry {
		return nil
	}
	final, _, err := pcapstore.Recover(f.Path)
	switch {
	case err != nil:
		return err
	case final == "":
		r.Done, r.Problems = []string{"remove it: no packet or zstd frame is whole"}, nil
		return nil
	}
	if f, _ = archive.ParseName(final); err == nil {
		r.Report, err = index.VerifyPackets(f)
	}
	return err
}

// text prints a line for the file and one for each repair and problem.
func (m *maintainer) text(r result) error {
	var b strings.Builder
	name := filepath.Base(r.Path)
	if r.Error != "" {
		fmt.Fprintf(&b, "%s: %s\n", name, r.Error)
	} else {
		fmt.Fprintf(&b, "%s  %s\n", name, summary(r.Report))
	}
	for _, d := range r.Done {
		if m.dry {
			d = "dry run: " + d
		}
		fmt.Fprintf(&b, "    %s\n", d)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "    problem: %s\n", p)
	}
	_, err := io.WriteString(m.out, b.String())
	return err
}

// summary returns a report as one line.
func summary(r index.Report) string {
	var parts []string
	if r.Frames > 0 {
		const layout = "2006-01-02T15:04:05.000000000Z"
		parts = append(parts, r.Earliest.Format(layout)+" to "+r.Latest.Format(layout))
	}
	parts = append(parts, units.Plural(r.Frames, "frame"), fmt.Sprintf("%d bytes", r.Size))
	switch r.Index {
	case index.NoIndex:
		parts = append(parts, r.File.Format())
	case index.Missing:
		parts = append(parts, "no index")
	default:
		parts = append(parts, fmt.Sprintf("index %s (%.2f %%)", r.Index, 100*float64(r.IndexSize)/float64(max(r.Size, 1))))
	}
	switch {
	case r.MissingSegments > 0:
		parts = append(parts, units.Plural(uint64(r.MissingSegments), "segment")+" missing before it")
	case r.Gap > 0:
		parts = append(parts, fmt.Sprintf("gap %v", time.Duration(r.Gap)))
	}
	if r.Writing {
		parts = append(parts, "being written")
	}
	return strings.Join(parts, "  ")
}

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// errWrong ends a program that has told what is wrong.
var errWrong = errors.New("not all is right: see above")

// result is what is told of a file.
type result struct {
	index.Report
	Done  []string `json:"done,omitempty"`
	Error string   `json:"error,omitempty"`
}

// maintain verifies, repairs or describes files.
func maintain(what string, args []string, w io.Writer) error {
	flags := flag.NewFlagSet("hpcapq "+what, flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON, an object per line and file")
	dry := new(bool)
	if what == "repair" {
		dry = flags.Bool("n", false, "change nothing, only tell what would be done")
	}
	text := map[string]string{
		"verify": "reads files whole and tells what is wrong: structure, order of time, segments that are missing, index",
		"repair": "cuts broken ends, finishes files that their writer left, makes indices that are missing or wrong",
		"info":   "prints a line per file: time range, frames, bytes, gaps",
	}[what]
	if err := cli.Parse(flags, args, fmt.Sprintf("usage: hpcapq %s [flags] DIR|FILE...\n%s", what, text)); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return cli.Usagef("no files: name a folder with RAW files, or files")
	}
	if err := yield(idle); err != nil {
		fmt.Fprintln(os.Stderr, "hpcapq: warning:", err)
	}
	files, err := archive.List(flags.Args()...)
	if err != nil {
		return err
	}
	m := maintainer{what: what, dry: *dry, out: w, sequence: what != "repair" && folders(flags.Args())}
	m.print = m.text
	if *asJSON {
		lines := json.NewEncoder(w)
		m.print = func(r result) error { return lines.Encode(r) }
	}
	for _, f := range files {
		if err := m.file(f); err != nil {
			return err
		}
	}
	if m.wrong {
		return errWrong
	}
	return nil
}

// folders tells whether all of the paths are folders, whose files can be expected
// to follow each other.
func folders(paths []string) bool {
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
	before   index.Report
	wrong    bool
}

func (m *maintainer) file(f archive.File) error {
	var r result
	var err error
	switch m.what {
	case "verify":
		r.Report, err = index.Verify(f)
	case "repair":
		r.Report, r.Done, err = index.Repair(f, m.dry)
	default:
		r.Report, err = index.Inspect(f)
	}
	if err != nil {
		r.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	if m.sequence {
		r.After(&m.before)
		m.before = r.Report
	}
	m.wrong = m.wrong || r.Error != "" || len(r.Problems) > 0
	return m.print(r)
}

// text prints a line for the file, and with verify and repair one for each thing
// that is wrong or was done.
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
			d = "to be done: " + d
		}
		fmt.Fprintf(&b, "    %s\n", d)
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "    wrong: %s\n", p)
	}
	_, err := io.WriteString(m.out, b.String())
	return err
}

// summary is a report in one line.
func summary(r index.Report) string {
	var parts []string
	if r.Frames > 0 {
		const layout = "2006-01-02T15:04:05.000000000Z"
		parts = append(parts, r.Earliest.Format(layout)+" to "+r.Latest.Format(layout))
	}
	parts = append(parts, fmt.Sprintf("%d frames", r.Frames), fmt.Sprintf("%d bytes", r.Size))
	switch r.Index {
	case index.IndexMissing:
		parts = append(parts, "no index")
	default:
		parts = append(parts, fmt.Sprintf("index %s (%.2f %%)", r.Index, 100*float64(r.IndexSize)/float64(max(r.Size, 1))))
	}
	switch {
	case r.Missing > 0:
		parts = append(parts, fmt.Sprintf("%d segments missing before it", r.Missing))
	case r.Gap > 0:
		parts = append(parts, fmt.Sprintf("%v after the one before it", time.Duration(r.Gap*1e9).Round(time.Nanosecond)))
	}
	if r.Writing {
		parts = append(parts, "being written")
	}
	return strings.Join(parts, "  ")
}

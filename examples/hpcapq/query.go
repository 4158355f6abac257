package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// notices is how many files are named of those that are read without an index or
// the like; of a folder that has none there may be hundreds.
const notices = 10

// query writes what the query finds. What could not be read is an error in the
// end; it keeps nothing else from being found.
func query(ctx context.Context, o options) (err error) {
	if err := yield(o.claim); err != nil {
		fmt.Fprintln(os.Stderr, "hpcapq: warning:", err)
	}
	signal.Ignore(unix.SIGPIPE) // a reader that has enough makes a write fail, which ends the query
	began := time.Now()
	var w *convert.Writer
	pending := uint64(0)
	flush := func() error {
		if pending == 0 {
			return nil
		}
		pending = 0
		return w.Flush()
	}
	told := 0
	o.query.Notice = func(text string) {
		if told++; told <= notices {
			fmt.Fprintln(os.Stderr, "hpcapq: notice:", text)
		}
	}
	o.query.Pause = func() error { return errors.Join(ctx.Err(), flush()) }
	for _, dir := range o.shares {
		sockets, err := index.Sockets(dir)
		if err != nil {
			return fmt.Errorf("--share: %w", err)
		}
		o.query.Live = append(o.query.Live, sockets...)
	}
	s, err := index.Find(o.query, o.dirs...)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Stats().Files == 0 && s.Faults() == nil && len(o.shares) == 0 {
		return fmt.Errorf("no RAW files in %v that fit --port and --queue", o.dirs)
	}
	file, err := cli.Create(o.out, o.dirs, o.force)
	if err != nil {
		return err
	}
	first := time.Duration(-1)
	defer func() {
		if s.Stats().Matched > 0 || err == nil {
			err = errors.Join(err, file.Commit())
		}
		err = errors.Join(err, file.Close())
		if told > notices {
			fmt.Fprintf(os.Stderr, "hpcapq: notice: and so on, %d in all\n", told)
		}
		if o.stats {
			tell(os.Stderr, s.Stats(), first, time.Since(began))
		}
		if errors.Is(err, unix.EPIPE) {
			err = nil
		}
	}()
	if w, err = convert.NewWriter(file, o.format); err != nil {
		return err
	}
	for written := uint64(0); ; {
		rec, err := s.Next()
		if err == nil {
			if o.snap > 0 && len(rec.Data) > o.snap {
				rec.Data = rec.Data[:o.snap]
			}
			err = w.Write(rec)
			pending++
			written++
		}
		if err == nil && first < 0 {
			err = flush() // whoever waits for it sees it at once
			first = time.Since(began)
		}
		if err == nil && written == o.count {
			return errors.Join(w.Flush(), s.Faults())
		}
		switch {
		case err == io.EOF:
			if s.Stats().Matched == 0 {
				fmt.Fprintln(os.Stderr, "hpcapq: notice:", nothing(o))
			}
			return errors.Join(w.Flush(), s.Faults())
		case errors.Is(err, context.Canceled):
			return errors.Join(w.Flush(), errors.New("interrupted: there may be more"), s.Faults())
		case err != nil:
			return err
		}
	}
}

// nothing says that there is nothing in the answer and, if a time was asked for,
// what times there are.
func nothing(o options) string {
	const text = "no packet matches"
	files, err := archive.List(o.dirs...)
	files = slices.DeleteFunc(files, func(f archive.File) bool { return f.First.IsZero() })
	if err != nil || len(files) == 0 || o.query.From.IsZero() && o.query.To.IsZero() {
		return text
	}
	slices.SortFunc(files, func(a, b archive.File) int { return a.First.Compare(b.First) })
	return fmt.Sprintf("%s; the first file begins at %s, the last at %s", text, when(files[0].First), when(files[len(files)-1].First))
}

// when is a time as a line shows it, in the zone that times are read in.
func when(t time.Time) string { return t.Local().Format("2006-01-02T15:04:05.000Z07:00") }

// tell prints what a query had to read.
func tell(w io.Writer, s index.Stats, first, all time.Duration) {
	percent := func(n int64) float64 { return 100 * float64(n) / float64(max(s.Bytes, 1)) }
	fmt.Fprintf(w, "files:   %d, %d of them outside the time span, %d read without an index\n", s.Files, s.Outside, s.Unindexed)
	fmt.Fprintf(w, "blocks:  %d in indexed files; %d outside the time span, %d without what is looked for, %d read\n",
		s.Blocks, s.Early, s.Without, s.Blocks-s.Early-s.Without)
	fmt.Fprintf(w, "bytes:   %d stored, %d read (%.3f %%), and %d of indices (%.3f %%)\n",
		s.Bytes, s.Read, percent(s.Read), s.IndexRead, percent(s.IndexRead))
	fmt.Fprintf(w, "packets: %d looked at, %d found, %d of them in memory", s.Frames, s.Matched, s.Live)
	if first >= 0 {
		fmt.Fprintf(w, ", the first after %v", first.Round(time.Microsecond))
	}
	fmt.Fprintf(w, ", all after %v\n", all.Round(time.Microsecond))
}

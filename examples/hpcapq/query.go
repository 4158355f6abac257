package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// maxWarnings is how many warnings a query prints. A directory without indices may
// have hundreds of files.
const maxWarnings = 10

// limiter is a slog.Handler that passes on the first maxWarnings records.
type limiter struct {
	slog.Handler
	records *int
}

func (l limiter) Handle(ctx context.Context, r slog.Record) error {
	if *l.records++; *l.records > maxWarnings {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

// runQuery writes the packets of a query. Files that cannot be read are an error at the
// end; the packets of the others are written.
func runQuery(ctx context.Context, o options) (err error) {
	logger := cli.Logger(cli.Stderr, "hpcapq", false)
	if err := setIOPriority(o.io); err != nil {
		logger.Warn(err.Error())
	}
	if w := o.window(); w != (units.Window{}) {
		logger.Info("window " + w.String())
	}
	out := output{began: time.Now(), first: -1}
	warnings := 0
	o.request.Logger = slog.New(limiter{logger.Handler(), &warnings})
	o.request.BeforeRead = func() error { return errors.Join(ctx.Err(), out.flush()) }
	for _, dir := range o.shares {
		sockets, err := query.Sockets(dir)
		if err != nil {
			return fmt.Errorf("--share: %w", err)
		}
		o.request.Live = append(o.request.Live, sockets...)
	}
	s, err := query.Find(o.request, o.dirs...)
	if err != nil {
		return err
	}
	defer s.Close()
	if s.Stats().Files == 0 && s.Faults() == nil && len(o.shares) == 0 {
		return fmt.Errorf("no RAW files in %v for --port and --queue", o.dirs)
	}
	file, err := cli.Create(o.out, o.dirs, o.force)
	if err != nil {
		return err
	}
	defer func() {
		if s.Stats().Matched > 0 || err == nil {
			err = errors.Join(err, file.Commit())
		}
		err = errors.Join(err, file.Close())
		if warnings > maxWarnings {
			logger.Warn(fmt.Sprintf("%d warnings, the first %d printed", warnings, maxWarnings))
		}
		if o.stats {
			printStats(cli.Stderr, s.Stats(), out.first, time.Since(out.began))
		}
	}()
	if out.w, err = convert.NewWriter(file, o.format); err != nil {
		return err
	}
	err = out.copy(s, o)
	switch {
	case err == io.EOF:
		if s.Stats().Matched == 0 {
			logger.Info(noMatch(o))
		}
		return errors.Join(out.w.Flush(), s.Faults())
	case errors.Is(err, context.Canceled):
		return errors.Join(out.w.Flush(), errors.New("interrupted: more packets may match"), s.Faults())
	}
	return err
}

// output writes the packets of a query.
type output struct {
	w       *convert.Writer
	pending bool // packets were written since the last flush
	began   time.Time
	first   time.Duration // from began to the first packet; -1: none yet
}

func (out *output) flush() error {
	if !out.pending {
		return nil
	}
	out.pending = false
	return out.w.Flush()
}

// copy writes packets until the end of the result (io.EOF), an error, or --count.
func (out *output) copy(s *query.Result, o options) error {
	for written := uint64(1); ; written++ {
		rec, err := s.Next()
		if err != nil {
			return err
		}
		if o.snap > 0 && len(rec.Data) > o.snap {
			rec.Data = rec.Data[:o.snap]
		}
		if err := out.w.Write(rec); err != nil {
			return err
		}
		out.pending = true
		if out.first < 0 {
			if err := out.flush(); err != nil { // the first packet is shown at once
				return err
			}
			out.first = time.Since(out.began)
		}
		if written == o.count {
			return errors.Join(out.w.Flush(), s.Faults())
		}
	}
}

// noMatch is the message of a query without a match. If a time span was asked for, it
// has the time range of the files.
func noMatch(o options) string {
	const text = "no packet matches"
	files, err := archive.List(o.dirs...)
	files = slices.DeleteFunc(files, func(f archive.File) bool { return f.First.IsZero() })
	if err != nil || len(files) == 0 || o.request.From.IsZero() && o.request.To.IsZero() {
		return text
	}
	slices.SortFunc(files, func(a, b archive.File) int { return a.First.Compare(b.First) })
	return fmt.Sprintf("%s; the first file begins at %s, the last at %s", text, formatTime(files[0].First.In(o.zone)), formatTime(files[len(files)-1].First.In(o.zone)))
}

func formatTime(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z07:00") }

// printStats prints the work of a query; first is the time to the first packet.
func printStats(w io.Writer, s query.Stats, first, all time.Duration) {
	percent := func(n int64) float64 { return 100 * float64(n) / float64(max(s.Bytes, 1)) }
	fmt.Fprintf(w, "files:   %d, of these %d outside the time span, %d without index\n", s.Files, s.FilesOutside, s.Unindexed)
	fmt.Fprintf(w, "blocks:  %d indexed, of these %d outside the time span, %d ruled out by the index, %d read\n",
		s.Blocks, s.BlocksOutside, s.BlocksRuled, s.Blocks-s.BlocksOutside-s.BlocksRuled)
	fmt.Fprintf(w, "bytes:   %d stored, %d read (%.3f %%), %d of indices read (%.3f %%)\n",
		s.Bytes, s.Read, percent(s.Read), s.IndexRead, percent(s.IndexRead))
	fmt.Fprintf(w, "packets: %d examined, %d matched, of these %d in memory\n", s.Frames, s.Matched, s.Live)
	if first >= 0 {
		fmt.Fprintf(w, "time:    first packet after %v, all after %v\n", first.Round(time.Microsecond), all.Round(time.Microsecond))
	} else {
		fmt.Fprintf(w, "time:    %v\n", all.Round(time.Microsecond))
	}
}

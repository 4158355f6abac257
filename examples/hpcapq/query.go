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
	"github.com/ixcap/ixcap/capture/archive/extract"
	"github.com/ixcap/ixcap/capture/archive/query"
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
	out := output{o: o, ctx: ctx, logger: logger, began: time.Now(), first: -1}
	warnings := 0
	out.o.request.Logger = slog.New(limiter{logger.Handler(), &warnings})
	out.o.request.BeforeRead = func() error { return errors.Join(out.interrupted(), out.flush()) }
	out.o.request.Stop = ctx.Done()
	for _, dir := range o.shares {
		sockets, err := query.Sockets(dir)
		if err != nil {
			return fmt.Errorf("--share: %w", err)
		}
		out.o.request.Live = append(out.o.request.Live, sockets...)
	}
	if w := o.window(); w != (units.Window{}) {
		logger.Info("window " + w.String())
	}
	if text := notOver(o, time.Now()); text != "" {
		logger.Info(text)
	}
	defer func() {
		if warnings > maxWarnings {
			logger.Warn(fmt.Sprintf("%d warnings, the first %d printed", warnings, maxWarnings))
		}
		if o.stats {
			printStats(cli.Stderr, out.stats, out.first, time.Since(out.began))
		}
	}()
	if o.split.files {
		return out.eachFile()
	}
	return out.answer(o.out, o.dirs...)
}

// output writes the packets of queries.
type output struct {
	o       options
	ctx     context.Context
	logger  *slog.Logger
	w       *extract.Writer // nil: none yet
	result  *query.Result   // that it writes
	parts   *cli.Parts      // of an earlier run; nil: the output is one file
	pending bool            // packets were written since the last flush
	written uint64          // packets
	stats   query.Stats
	began   time.Time
	first   time.Duration // from began to the first packet; -1: none yet
	last    time.Time     // stamp of the last packet
	stopped time.Time     // when an interrupt was noticed
}

// drainLimit limits how long after an interrupt a query that follows delivers the packets
// that were captured by then.
const drainLimit = 10 * time.Second

// interrupted returns an error if the query is to end at once because of an interrupt.
func (out *output) interrupted() error {
	err := out.ctx.Err()
	if err != nil && out.stopped.IsZero() {
		out.stopped = time.Now()
	}
	if out.o.request.Follow && time.Since(out.stopped) < drainLimit {
		return nil
	}
	return err
}

// eachFile writes a file for each input file with a match.
func (out *output) eachFile() error {
	files, err := archive.List(out.o.dirs...)
	if err != nil {
		return err
	}
	var faults error
	names := fileNames{}
	for _, f := range files {
		if out.ctx.Err() != nil || out.o.count != 0 && out.written >= out.o.count {
			break
		}
		faults = errors.Join(faults, out.answer(names.of(out.o.out, f.Path), f.Path))
	}
	if out.stats.Files == 0 && faults == nil {
		return out.noFiles()
	}
	if out.stats.Matched == 0 {
		out.logger.Info(noMatch(out.o))
	}
	return faults
}

func (out *output) noFiles() error {
	return fmt.Errorf("no stored files in %v for --port, --queue and --input-format", out.o.dirs)
}

// answer writes the packets of stored files.
func (out *output) answer(name string, paths ...string) (err error) {
	s, err := query.Find(out.o.request, paths...)
	if err != nil {
		return err
	}
	out.result = s
	defer func() {
		out.stats.Add(s.Stats())
		err = errors.Join(err, s.Close())
	}()
	if s.Stats().Files == 0 && s.Faults() == nil && len(out.o.shares) == 0 && !out.o.split.files {
		return out.noFiles()
	}
	if !out.o.split.files {
		if err := out.create(name); err != nil {
			return err
		}
	}
	err = out.copy(s, name)
	canceled := errors.Is(err, context.Canceled)
	if canceled || err == io.EOF {
		err = nil
	}
	if out.w != nil {
		err = errors.Join(err, out.end(s.Stats().Matched > 0 || err == nil))
	}
	if a, b := s.Copies(); a != "" {
		out.logger.Warn(fmt.Sprintf("%s or more come twice, with equal stamps and bytes, first from %s and %s: the same traffic is stored twice. Select files with --input-format, or name them", units.Plural(s.Stats().Copies, "packet"), a, b))
	}
	if text := orderText(s.Order()); text != "" {
		out.logger.Info(text)
	}
	if late := s.Stats().Late; late > 0 && out.o.request.Follow {
		out.logger.Warn(fmt.Sprintf("%s came out of order: stored more than 3 s after their stamp", units.Plural(late, "packet")))
	}
	err = errors.Join(err, out.ended(canceled))
	if err == nil && s.Stats().Matched == 0 && !out.o.split.files {
		out.logger.Info(noMatch(out.o))
	}
	return errors.Join(err, s.Faults())
}

// ended tells what an interrupt leaves out. cut: packets captured before it, too.
func (out *output) ended(cut bool) error {
	switch follows := out.o.request.Follow; {
	case out.ctx.Err() == nil:
	case cut && follows && !out.last.IsZero():
		return fmt.Errorf("interrupted: packets after %s are not included", formatTime(out.last.In(out.o.zone)))
	case cut, follows && !out.o.request.To.IsZero():
		return errors.New("interrupted: more packets may match")
	case follows && len(out.o.shares) == 0:
		at := out.stopped.In(out.o.zone)
		out.logger.Info(fmt.Sprintf("interrupted at %s: packets that are not on disk yet, up to those of the last second, are not included. --share reads them from memory", formatTime(at)))
	}
	return nil
}

// orderText is the notice of how far the order of packets can differ from that of their
// arrival; "" for one source.
func orderText(o query.Order) string {
	switch {
	case o.Sources < 2:
		return ""
	case o.Unknown == o.Sources:
		return fmt.Sprintf("order of packets: exact within each of %d queues, not known between them", o.Sources)
	case o.Unknown > 0:
		return fmt.Sprintf("order of packets: exact within each of %d queues, within %v between them, not known for %d of them", o.Sources, o.Bound, o.Unknown)
	}
	return fmt.Sprintf("order of packets: exact within each of %d queues, within %v between them", o.Sources, o.Bound)
}

// create begins the output.
func (out *output) create(name string) (err error) {
	o := out.o
	files, err := archive.List(o.dirs...)
	if err != nil {
		return err
	}
	inputs := slices.Clone(o.dirs)
	for _, f := range files {
		inputs = append(inputs, f.Path)
	}
	config := extract.Config{
		Name: name, Format: o.format, Snaplen: o.snap, Size: int64(o.segment), Every: o.rotate.Duration(), Packets: o.split.packets,
		Uncertainty: out.result.Uncertainty,
		Create:      func(name string) (extract.Output, error) { return cli.Create(name, inputs, o.force) },
	}
	if o.request.Filter != nil {
		config.Filter = o.request.Filter.String()
	}
	if o.segment != 0 || o.rotate != 0 || o.split.packets != 0 {
		if out.parts, err = cli.EarlierParts(name, inputs, o.force); err != nil {
			return err
		}
	}
	out.w, err = extract.New(config)
	return err
}

// end ends the output. whole: the file that is open lacks no packet.
func (out *output) end(whole bool) (err error) {
	written := out.w.Parts()
	if whole {
		err = out.w.Finish()
	}
	if whole = whole && out.w.Whole(); !whole {
		written--
	}
	err = errors.Join(err, out.w.Close())
	if out.parts != nil {
		notice, left := out.parts.End(written, whole)
		if notice != "" {
			out.logger.Info(notice)
		}
		err = errors.Join(err, left)
	}
	out.w, out.pending, out.parts = nil, false, nil
	return err
}

func (out *output) flush() error {
	if !out.pending {
		return nil
	}
	out.pending = false
	return out.w.Flush()
}

// copy writes packets until the end of the result (io.EOF), an error, or --count.
func (out *output) copy(s *query.Result, name string) error {
	for out.o.count == 0 || out.written < out.o.count {
		p, err := s.Next()
		if err != nil {
			return err
		}
		if out.w == nil {
			if err := out.create(name); err != nil {
				return err
			}
		}
		if err := out.w.Write(p); err != nil {
			return err
		}
		out.pending = true
		out.written++
		out.last = p.Time()
		if out.first < 0 {
			if err := out.flush(); err != nil { // the first packet is shown at once
				return err
			}
			out.first = time.Since(out.began)
		}
	}
	return nil
}

// notOver is the message about a window that is not over, or ""; it is what --follow waits
// for.
func notOver(o options, now time.Time) string {
	left := o.request.To.Sub(now).Round(time.Second)
	if o.request.From.After(now) {
		text := fmt.Sprintf("the window begins in %v", o.request.From.Sub(now).Round(time.Second))
		switch {
		case !o.request.Follow:
			return text + ": nothing is captured yet. --follow waits for it"
		case !o.request.To.IsZero():
			text += fmt.Sprintf(" and ends in %v", left)
		}
		return text + ": waiting for it"
	}
	switch {
	case o.request.To.IsZero() && o.request.Follow:
		return "following until the capture ends, or an interrupt"
	case o.request.To.IsZero() || !o.request.To.After(now):
		return ""
	case o.request.Follow:
		return fmt.Sprintf("the window ends in %v: waiting for it", left)
	}
	return fmt.Sprintf("the window ends in %v: the answer has what is there now. --follow waits for the rest", left)
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

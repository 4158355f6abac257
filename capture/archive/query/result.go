package query

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Request selects packets.
type Request struct {
	From, To time.Time // From <= stamp < To; zero: no bound
	Port     string    // label of the port in the files' names; "": all
	Queue    int       // capture.AllQueues: all

	Filter *pcapfilter.Filter // nil: all packets match

	// Live are the sockets of streams (stream.Attach) whose queues are being stored in
	// the directories. The result includes what is in their memory and not yet on disk
	// at the time of Find.
	Live []string

	// Logger receives what affects how complete or fast the result is, such as files
	// without an index. nil discards.
	Logger *slog.Logger

	// BeforeRead is called before each read from the disk, so that the caller can pass
	// on the packets so far. It may be nil. An error ends the query.
	BeforeRead func() error
}

// Stats counts the work of a query so far.
type Stats struct {
	Files         int    // of the port and queue asked for
	FilesOutside  int    // of these, not opened: outside the time span
	Unindexed     int    // of these, read without an index, completely or from some byte on
	Bytes         int64  // of all these files
	Read          int64  // of these, read
	IndexRead     int64  // bytes read of indices
	Blocks        int    // of indexed files that were opened
	BlocksOutside int    // of these, not read: outside the time span
	BlocksRuled   int    // of these, not read: ruled out by the index
	Frames        uint64 // examined
	Matched       uint64
	Live          uint64 // of these, from the memory of a running capture
}

// Result returns the packets of a request in the order of their stamps, those of
// equal stamp in the order of port, queue and capture. Packets of a file whose stamps
// go backwards are in the order of the file.
type Result struct {
	q        Request
	from, to int64 // ns since 1970
	needs    pcapfilter.Needs
	stats    Stats
	pending  []*cursor // not opened, by the first stamp that they may have
	opened   int       // of these, whose files were locked so far
	active   cursors   // a heap
	returned bool      // Next has returned the record of active[0]
	faults   []error
	err      error
}

// maxOpen is how many files a query opens and locks in advance, so that they are not
// deleted before it reads them. Later ones may be.
const maxOpen = 500

// Find starts a query of the RAW files in directories, or of single files.
func Find(q Request, paths ...string) (*Result, error) {
	r := &Result{q: q, from: 0, to: 1<<63 - 1}
	if r.q.Logger == nil {
		r.q.Logger = slog.New(slog.DiscardHandler)
	}
	if q.Filter != nil {
		r.needs = q.Filter.Needs()
	}
	if !q.From.IsZero() {
		r.from = nanos(q.From)
	}
	if !q.To.IsZero() {
		r.to = nanos(q.To)
	}
	if r.from > r.to {
		return nil, fmt.Errorf("time span ends %v before it begins", time.Duration(r.from-r.to))
	}
	files, err := archive.List(paths...)
	if err != nil {
		return nil, err
	}
	var live []liveRecords
	limits := map[string]int64{}
	if len(q.Live) > 0 {
		if files, live, limits, err = r.snapshot(paths); err != nil {
			return nil, err
		}
	}
	for i, f := range files {
		if q.Port != "" && f.Port != q.Port || q.Queue != capture.AllQueues && f.Queue != q.Queue {
			continue
		}
		limit, ok := limits[f.Path]
		if !ok {
			limit = -1
		}
		r.plan(&cursor{result: r, file: f, order: 2 * i, limit: limit}, files[i+1:])
	}
	for _, m := range live {
		r.pending = append(r.pending, &cursor{result: r, order: 2*m.after + 1, key: m.first, piece: m.records})
	}
	slices.SortStableFunc(r.pending, (*cursor).compare)
	return r, nil
}

// matches reports whether a packet is in the span and matches the filter.
func (r *Result) matches(ns int64, data []byte, wire int) bool {
	return ns >= r.from && ns < r.to && (r.q.Filter == nil || r.q.Filter.Match(data, wire))
}

// nanos returns t in ns since 1970, limited to the range of RAW files.
func nanos(t time.Time) int64 {
	const last = 1<<32 - 1
	switch sec := t.Unix(); {
	case sec < 0:
		return 0
	case sec > last:
		return (last + 1) * 1e9
	}
	return t.UnixNano()
}

// plan adds a file to the pending ones unless it is outside the span. later are the
// files after it in the list.
func (r *Result) plan(c *cursor, later []archive.File) {
	r.stats.Files++
	if r.outside(&c.file, later) {
		if info, err := os.Stat(c.file.Path); err == nil {
			r.stats.Bytes += info.Size()
		}
		r.stats.FilesOutside++
		return
	}
	if err := c.openFile(); err != nil {
		r.fault(c, err)
		return
	}
	r.stats.Bytes += c.size
	if !r.firstKey(c) {
		r.stats.FilesOutside++
		c.closeFile()
		return
	}
	r.pending = append(r.pending, c)
	if r.opened++; r.opened > maxOpen {
		c.closeFile()
	}
}

// outside reports, by names alone, whether a file is outside the span: it begins after
// the span, or the next file of the same run begins before it. Stamps of one queue
// never go backwards.
func (r *Result) outside(f *archive.File, later []archive.File) bool {
	if f.First.IsZero() {
		return false
	}
	if f.First.UnixNano() >= r.to {
		return true
	}
	return len(later) > 0 && later[0].Port == f.Port && later[0].Queue == f.Queue && later[0].Seq == f.Seq+1 &&
		!later[0].First.Before(f.First) && later[0].First.UnixNano() < r.from
}

// firstKey sets the cursor's key to a stamp before which the file has no packet, and
// reports whether the file may have packets of the span.
func (r *Result) firstKey(c *cursor) bool {
	if c.size == 0 {
		return false
	}
	first, t, ok, err := index.Peek(c.file.Sidecar(), &r.stats.IndexRead)
	if err != nil && !missing(err) {
		r.warn(c, "index cannot be read: %v", err)
	}
	var head [rawfile.HeaderLen]byte
	if err := c.readHead(head[:]); err != nil {
		r.fault(c, err)
		return false
	}
	switch {
	case ok && t.Length == c.size && t.Entries > 0 && head == first.Head:
		c.key = max(t.Earliest, r.from)
		return t.Latest >= r.from && t.Earliest < r.to
	case !c.file.First.IsZero() && rawfile.DecodeHeader(head[:]).UnixNano() == c.file.First.UnixNano():
		// No index, or one that is incomplete or not the file's; open finds out which.
		c.key = c.file.First.UnixNano()
	}
	return true
}

// Next returns the next packet, valid until the following call, or io.EOF. Faults
// returns what could not be read.
func (r *Result) Next() (rawfile.Record, error) {
	if r.err != nil {
		return rawfile.Record{}, r.err
	}
	if r.returned {
		r.returned = false
		r.active[0].ready = false
		r.active[0].advance()
		r.fix()
	}
	for {
		for len(r.pending) > 0 && (len(r.active) == 0 || r.pending[0].compare(r.active[0]) < 0) {
			c := r.pending[0]
			r.pending = r.pending[1:]
			if c.open() {
				heap.Push(&r.active, c)
			}
		}
		if len(r.active) == 0 {
			r.err = io.EOF
			return rawfile.Record{}, r.err
		}
		c := r.active[0]
		if c.ready {
			r.returned = true
			r.stats.Matched++
			if c.file.Path == "" {
				r.stats.Live++
			}
			return c.rec, nil
		}
		if r.q.BeforeRead != nil {
			if r.err = r.q.BeforeRead(); r.err != nil {
				return rawfile.Record{}, r.err
			}
		}
		c.load()
		r.fix()
	}
}

// fix restores the order of the heap after active[0] has moved, or removes it if it is
// done.
func (r *Result) fix() {
	if r.active[0].done {
		r.active[0].close()
		heap.Pop(&r.active)
		return
	}
	heap.Fix(&r.active, 0)
}

// Stats returns the counters so far.
func (r *Result) Stats() Stats { return r.stats }

// Faults returns the errors of files, and parts of files, that could not be read. Their
// packets are missing in the result.
func (r *Result) Faults() error { return errors.Join(r.faults...) }

// Close ends the query.
func (r *Result) Close() error {
	for _, c := range slices.Concat(r.active, r.pending) {
		c.close()
	}
	r.active, r.pending = nil, nil
	r.err = cmp.Or(r.err, os.ErrClosed)
	return nil
}

// warn logs a message about a cursor's file.
func (r *Result) warn(c *cursor, format string, args ...any) {
	r.q.Logger.Warn(filepath.Base(c.file.Path) + ": " + fmt.Sprintf(format, args...))
}

func (r *Result) fault(c *cursor, err error) {
	if missing(err) {
		r.warn(c, "was deleted during the query")
		return
	}
	if !strings.Contains(err.Error(), c.file.Path) {
		err = fmt.Errorf("%s: %w", c.file.Path, err)
	}
	r.faults = append(r.faults, err)
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// cursors is a heap of open cursors by the stamp of their next packet.
type cursors []*cursor

func (h cursors) Len() int           { return len(h) }
func (h cursors) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h cursors) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)        { *h = append(*h, x.(*cursor)) }
func (h *cursors) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}

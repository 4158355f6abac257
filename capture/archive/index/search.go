package index

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Query says which packets are wanted.
type Query struct {
	From, To time.Time // From <= stamp < To; zero: no bound
	Port     string    // label of the port in the files' names; "": all
	Queue    int       // capture.AllQueues: all

	Filter *pcapfilter.Filter // nil: all packets match

	// Live are the sockets of streams (stream.Attach) whose queues are being stored
	// in the folders: what is in their memory and not on disk yet is part of the
	// answer, as of the time of Find.
	Live []string

	// Notice is told what somebody who relies on the answer should know: files
	// without an index, or with one that is not theirs. It may be nil.
	Notice func(text string)

	// Pause is called before the disk is read, with what was found before; it is
	// for passing that on. It may be nil; an error ends the search.
	Pause func() error
}

// Stats counts what a search had to do so far.
type Stats struct {
	Files     int    // that the query is about, by port and queue
	Outside   int    // of these, not opened: all before From or after To
	Unindexed int    // of these, scanned, wholly or from some place on
	Bytes     int64  // of all these files
	Read      int64  // of these, read
	IndexRead int64  // bytes read of sidecars
	Blocks    int    // of indexed files that were opened
	Early     int    // of these, not read: all before From or after To
	Without   int    // of these, not read: no address or port as wanted
	Frames    uint64 // looked at
	Matched   uint64
	Live      uint64 // of these, from the memory of a running capture
}

// Search gives the packets of a query in the order of their stamps; those of
// equal stamp in the order of port, queue and capture. Within a file whose stamps
// go backwards the order is the file's.
type Search struct {
	q        Query
	from, to int64 // ns since 1970
	needs    pcapfilter.Needs
	stats    Stats
	pending  []*cursor // not opened, by the time they may begin
	held     int       // of these, whose files are kept from being deleted
	active   cursors   // a heap
	emitted  bool      // active[0] has given its record
	faults   []error
	err      error
}

// maxHeld is how many files a search keeps open before it gets to them, so that
// nobody deletes them who heeds the locks. Others may be gone by then.
const maxHeld = 500

// Find begins a search of the RAW files in folders, or of single files.
func Find(q Query, paths ...string) (*Search, error) {
	s := &Search{q: q, from: 0, to: 1<<63 - 1}
	if q.Filter != nil {
		s.needs = q.Filter.Needs()
	}
	if !q.From.IsZero() {
		s.from = nanos(q.From)
	}
	if !q.To.IsZero() {
		s.to = nanos(q.To)
	}
	if s.from > s.to {
		return nil, fmt.Errorf("a time span that ends %v before it begins", time.Duration(s.from-s.to))
	}
	files, err := archive.List(paths...)
	if err != nil {
		return nil, err
	}
	var live []memory
	limits := map[string]int64{}
	if len(q.Live) > 0 {
		if files, live, limits, err = s.snapshot(paths); err != nil {
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
		s.plan(&cursor{search: s, file: f, order: 2 * i, limit: limit}, files[i+1:])
	}
	for _, m := range live {
		s.pending = append(s.pending, &cursor{search: s, order: 2*m.after + 1, key: m.first, piece: m.records})
	}
	slices.SortStableFunc(s.pending, (*cursor).compare)
	return s, nil
}

// matches tells whether a packet is one of those wanted.
func (s *Search) matches(ns int64, data []byte, wire int) bool {
	return ns >= s.from && ns < s.to && (s.q.Filter == nil || s.q.Filter.Match(data, wire))
}

// nanos is t in ns since 1970, for times that RAW files know.
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

// plan decides whether a file has to be opened at all, and from when on it may
// have something. later are the files behind it in the list.
func (s *Search) plan(c *cursor, later []archive.File) {
	s.stats.Files++
	if s.outside(&c.file, later) {
		if info, err := os.Stat(c.file.Path); err == nil {
			s.stats.Bytes += info.Size()
		}
		s.stats.Outside++
		return
	}
	if err := c.hold(); err != nil {
		s.fault(c, err)
		return
	}
	s.stats.Bytes += c.size
	if !s.begins(c) {
		s.stats.Outside++
		c.release()
		return
	}
	s.pending = append(s.pending, c)
	if s.held++; s.held > maxHeld {
		c.release()
	}
}

// outside tells by their names alone whether a file has nothing of the span: it
// begins after it, or the same run's next file begins before it. Stamps of one
// queue never go backwards.
func (s *Search) outside(f *archive.File, later []archive.File) bool {
	if f.First.IsZero() {
		return false
	}
	if f.First.UnixNano() >= s.to {
		return true
	}
	return len(later) > 0 && later[0].Port == f.Port && later[0].Queue == f.Queue && later[0].Seq == f.Seq+1 &&
		!later[0].First.Before(f.First) && later[0].First.UnixNano() < s.from
}

// begins finds out from when on a file may have something, and whether it has
// anything of the span.
func (s *Search) begins(c *cursor) bool {
	if c.size == 0 {
		return false
	}
	first, t, ok, err := peek(c.file.Sidecar(), &s.stats.IndexRead)
	if err != nil && !missing(err) {
		s.notice(c, "index cannot be read: %v", err)
	}
	var head [rawfile.HeaderLen]byte
	if err := c.head(head[:]); err != nil {
		s.fault(c, err)
		return false
	}
	switch {
	case ok && t.Length == c.size && t.Entries > 0 && head == first.Head:
		c.key = max(t.Earliest, s.from)
		return t.Latest >= s.from && t.Earliest < s.to
	case !c.file.First.IsZero() && stamp(rawfile.DecodeHeader(head[:])) == c.file.First.UnixNano():
		// No index, or one that is not whole or not the file's; opened, it will tell
		// which.
		c.key = c.file.First.UnixNano()
	}
	return true
}

// Next gives the next packet, valid until the following call, or io.EOF. What
// could not be read on the way Faults tells.
func (s *Search) Next() (rawfile.Record, error) {
	if s.err != nil {
		return rawfile.Record{}, s.err
	}
	if s.emitted {
		s.emitted = false
		s.active[0].ready = false
		s.active[0].advance()
		s.settle()
	}
	for {
		for len(s.pending) > 0 && (len(s.active) == 0 || s.pending[0].compare(s.active[0]) < 0) {
			c := s.pending[0]
			s.pending = s.pending[1:]
			if c.open() {
				heap.Push(&s.active, c)
			}
		}
		if len(s.active) == 0 {
			s.err = io.EOF
			return rawfile.Record{}, s.err
		}
		c := s.active[0]
		if c.ready {
			s.emitted = true
			s.stats.Matched++
			if c.file.Path == "" {
				s.stats.Live++
			}
			return c.rec, nil
		}
		if s.q.Pause != nil {
			if s.err = s.q.Pause(); s.err != nil {
				return rawfile.Record{}, s.err
			}
		}
		c.load()
		s.settle()
	}
}

// settle puts the first of the active files in its place, or closes it.
func (s *Search) settle() {
	if s.active[0].done {
		s.active[0].close()
		heap.Pop(&s.active)
		return
	}
	heap.Fix(&s.active, 0)
}

// Stats tells what has been done so far.
func (s *Search) Stats() Stats { return s.stats }

// Faults are the files, and parts of files, that could not be read: what they
// held is missing from the answer.
func (s *Search) Faults() error { return errors.Join(s.faults...) }

// Close ends the search.
func (s *Search) Close() error {
	for _, c := range slices.Concat(s.active, s.pending) {
		c.close()
	}
	s.active, s.pending = nil, nil
	s.err = cmp.Or(s.err, os.ErrClosed)
	return nil
}

func (s *Search) notice(c *cursor, format string, args ...any) {
	s.tell(filepath.Base(c.file.Path) + ": " + fmt.Sprintf(format, args...))
}

func (s *Search) tell(text string) {
	if s.q.Notice != nil {
		s.q.Notice(text)
	}
}

func (s *Search) fault(c *cursor, err error) {
	if missing(err) {
		s.notice(c, "it was deleted meanwhile")
		return
	}
	if !strings.Contains(err.Error(), c.file.Path) {
		err = fmt.Errorf("%s: %w", c.file.Path, err)
	}
	s.faults = append(s.faults, err)
}

// cursors is a heap of open files by the stamp of their next packet.
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

package query

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// Request selects packets.
type Request struct {
	From, To time.Time // From <= stamp < To; zero: no bound
	Port     string    // label of the port in the files' names; "": all
	Queue    int       // capture.AllQueues: all
	Format   string    // raw, pcap or pcapng: only files of this format (archive.File.Format); "": all

	Filter *pcapfilter.Filter // nil: all packets match

	// Live are the sockets of streams (stream.Attach) whose queues are being stored in
	// the directories. The result includes what is in their memory and not yet on disk
	// at the time of Find.
	Live []string

	// Follow waits for packets until the window is over, the captures of Live have
	// ended, or Stop is closed: then the rest of the result is what has been captured
	// by then. BeforeRead is called while it waits, several times a second.
	Follow bool
	Stop   <-chan struct{}

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
	Unindexed     int    // of these, read without an index or a seek table, completely or from some byte on
	Bytes         int64  // of all these files
	Read          int64  // of these, read
	IndexRead     int64  // bytes read of indices
	Blocks        int    // of RAW files with an index that were opened
	BlocksOutside int    // of these, not read: outside the time span
	BlocksRuled   int    // of these, not read: ruled out by the index
	Frames        uint64 // examined
	Matched       uint64
	Live          uint64 // of these, from the memory of a running capture
	Late          uint64 // of these, stamped earlier than one before: the order is that of the files, or they were stored late
	Copies        uint64 // of these, at least, followed by the same packet of another file, with the same stamp
}

// Add adds the counters of another query.
func (s *Stats) Add(o Stats) {
	s.Files += o.Files
	s.FilesOutside += o.FilesOutside
	s.Unindexed += o.Unindexed
	s.Bytes += o.Bytes
	s.Read += o.Read
	s.IndexRead += o.IndexRead
	s.Blocks += o.Blocks
	s.BlocksOutside += o.BlocksOutside
	s.BlocksRuled += o.BlocksRuled
	s.Frames += o.Frames
	s.Matched += o.Matched
	s.Live += o.Live
	s.Late += o.Late
	s.Copies += o.Copies
}

// Result returns the packets of a request in the order of their stamps, those of
// equal stamp in the order of port, queue and capture. Packets of a file whose stamps
// go backwards are in the order of the file.
type Result struct {
	q        Request
	from, to int64 // ns since 1970
	needs    pcapfilter.Needs
	stats    Stats
	files    *files
	stamps   map[*Source]uncertainty
	seen     map[fileID]bool // files that are planned
	sources  map[string]*Source
	numbered int       // sources whose first packet was returned
	pending  []*cursor // not opened, by the first stamp that they may have
	active   cursors   // a heap
	follow   *follow   // nil: the result is what was there at the time of Find
	latest   int64     // greatest stamp of the packets returned so far
	returned bool      // Next has returned the packet of active[0]
	copies   [2]string // the first two files with the same packet
	faults   []error
	err      error
}

// Find starts a query of the stored files in directories, or of single files.
func Find(q Request, paths ...string) (*Result, error) {
	r := &Result{
		q: q, from: math.MinInt64, to: math.MaxInt64, latest: math.MinInt64,
		seen: map[fileID]bool{}, sources: map[string]*Source{}, stamps: map[*Source]uncertainty{},
	}
	r.files = newFiles(func(n int64) { r.stats.Read += n })
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
	began := time.Now()
	list, err := archive.List(paths...)
	if err != nil {
		return nil, err
	}
	if q.Follow {
		r.follow = &follow{paths: paths, known: map[string]bool{}, polled: began, probed: began}
		r.add(list, nil, nil)
		return r, nil
	}
	var live []liveRecords
	var limits map[string]int64
	if r.readsMemory() {
		if list, live, limits, err = r.snapshot(paths); err != nil {
			return nil, err
		}
	}
	r.add(list, live, limits)
	return r, nil
}

// readsMemory reports whether the result has live records. They become RAW files.
func (r *Result) readsMemory() bool {
	return len(r.q.Live) > 0 && (r.q.Format == "" || r.q.Format == archive.Raw[1:])
}

// add adds the files that the request asks for, and live records, to the pending ones.
// limits are the bytes to read of files that may grow, by path.
func (r *Result) add(list []archive.File, live []liveRecords, limits map[string]int64) {
	q := &r.q
	for i, f := range list {
		if q.Port != "" && f.Port != q.Port || q.Queue != capture.AllQueues && f.Queue != q.Queue || q.Format != "" && f.Format() != q.Format || r.follow.knows(f) {
			continue
		}
		limit, ok := limits[f.Path]
		if !ok {
			limit = -1
		}
		r.plan(r.cursorOf(f, limit), list[i+1:])
	}
	r.addLive(live)
	slices.SortStableFunc(r.pending, (*cursor).compare)
}

// addLive adds live records to the pending ones.
func (r *Result) addLive(live []liveRecords) {
	for _, m := range live {
		c := &cursor{result: r, file: archive.File{Port: m.port, Queue: m.queue}, base: m.after, key: m.first}
		c.packet.Source = r.source(m.port, m.queue)
		c.reader = &rawReader{cursor: c, piece: m.records}
		r.pending = append(r.pending, c)
	}
}

// orderOf is the part of a file's name that orders packets of one queue with equal
// stamps.
func orderOf(f archive.File) string { return archive.FinalName(filepath.Base(f.Path)) }

// cursorOf returns the cursor of a file.
func (r *Result) cursorOf(f archive.File, limit int64) *cursor {
	c := &cursor{result: r, file: f, base: orderOf(f), key: r.from, packet: Packet{Source: r.fileSource(f)}}
	c.growing = r.follow.waits() && f.Part && f.Stored()
	c.in = &input{files: r.files, path: f.Path, sequential: f.Packets}
	if f.Packets {
		c.reader = &packetReader{cursor: c}
	} else {
		c.reader = &rawReader{cursor: c, limit: limit}
	}
	return c
}

// matches reports whether a packet is in the span and matches the filter.
func (r *Result) matches(ns int64, data []byte, wire int) bool {
	return ns >= r.from && ns < r.to && (r.q.Filter == nil || r.q.Filter.Match(data, wire))
}

// nanos returns t in ns since 1970, limited to what an int64 holds.
func nanos(t time.Time) int64 {
	const most = math.MaxInt64/1_000_000_000 - 1
	switch sec := t.Unix(); {
	case sec < -most:
		return math.MinInt64
	case sec > most:
		return math.MaxInt64
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
	if err := c.in.open(); err != nil {
		r.fault(c, err)
		return
	}
	if r.seen[c.in.id] { // by another path
		r.stats.Files--
		c.in.close()
		return
	}
	r.seen[c.in.id] = true
	r.stats.Bytes += c.in.size
	if faults := len(r.faults); !c.reader.plan() {
		if len(r.faults) == faults {
			r.stats.FilesOutside++
		}
		c.close()
		return
	}
	r.pending = append(r.pending, c)
	c.in.keep()
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

// Next returns the next packet, valid until the following call, or io.EOF. Faults
// returns what could not be read.
func (r *Result) Next() (*Packet, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.returned {
		r.returned = false
		r.active[0].ready = false
		r.active[0].reader.advance()
		r.fix()
	}
	for {
		for len(r.pending) > 0 && (len(r.active) == 0 || r.pending[0].compare(r.active[0]) < 0) {
			c := r.pending[0]
			r.pending = r.pending[1:]
			r.begin(c)
		}
		if r.follow.waits() && (len(r.active) == 0 || r.active[0].key >= r.follow.until()) {
			if r.err = r.wait(); r.err != nil {
				return nil, r.err
			}
			continue
		}
		if len(r.active) == 0 {
			r.err = io.EOF
			return nil, r.err
		}
		if c := r.active[0]; c.ready {
			r.count(c)
			return &c.packet, nil
		}
		if r.q.BeforeRead != nil {
			if r.err = r.q.BeforeRead(); r.err != nil {
				return nil, r.err
			}
		}
		r.active[0].reader.load()
		r.fix()
	}
}

// begin begins to read a file that was pending.
func (r *Result) begin(c *cursor) {
	if !c.reader.begin() {
		c.close()
		return
	}
	if c.in != nil {
		c.in.begun = true
	}
	if c.idle {
		r.follow.idle = append(r.follow.idle, c)
		return
	}
	heap.Push(&r.active, c)
}

// count counts the packet that is returned.
func (r *Result) count(c *cursor) {
	r.returned = true
	r.stats.Matched++
	if c.in == nil {
		r.stats.Live++
	}
	if c.key < r.latest {
		r.stats.Late++
	}
	r.latest = max(r.latest, c.key)
	if s := c.packet.Source; s.Number < 0 {
		s.Number = r.numbered
		r.numbered++
	}
	for _, d := range r.active[1:min(len(r.active), 3)] { // the next one is one of these
		if d.ready && d.key == c.key && d.packet.Len == c.packet.Len && bytes.Equal(d.packet.Data, c.packet.Data) {
			r.stats.Copies++
			if r.stats.Copies == 1 {
				r.copies = [2]string{c.name(), d.name()}
			}
			break
		}
	}
}

// Copies returns the first two files that have the same packet with the same stamp:
// the same traffic is stored twice. It returns "" if there are none.
func (r *Result) Copies() (first, second string) { return r.copies[0], r.copies[1] }

// fix restores the order of the heap after active[0] has moved, or removes it if it is
// done or idle.
func (r *Result) fix() {
	switch c := r.active[0]; {
	case c.done:
		c.close()
		heap.Pop(&r.active)
		return
	case c.idle:
		heap.Pop(&r.active)
		r.follow.idle = append(r.follow.idle, c)
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
	for _, c := range slices.Concat([]*cursor(r.active), r.pending, r.follow.waiting()) {
		c.close()
	}
	r.active, r.pending = nil, nil
	r.err = cmp.Or(r.err, os.ErrClosed)
	return nil
}

// warn logs a message about a cursor's file.
func (r *Result) warn(c *cursor, format string, args ...any) {
	r.q.Logger.Warn(c.name() + ": " + fmt.Sprintf(format, args...))
}

func (c *cursor) name() string {
	if c.in == nil {
		return c.packet.Source.Name + " in memory"
	}
	return filepath.Base(c.file.Path)
}

func (r *Result) fault(c *cursor, err error) {
	if target, notLink := os.Readlink(c.file.Path); missing(err) && notLink == nil {
		err = fmt.Errorf("dangling symbolic link: %s does not exist", target)
	}
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

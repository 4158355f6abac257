package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/stream"
)

// What a running capture has in memory follows what it has stored without a seam:
//
//	                     segment start             seam               head
//	stream (memory)   ···│███ overwritten ███│░░░░░░░│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│
//	file              NAME.raw.part  │ byte 0 ...    │ whole records end here
//
// A segment of the stream becomes one file, byte for byte, so a byte's place in the
// stream is the start of its segment and its place in the file. The search takes
// from memory what lies behind the last whole record of each segment's file, and
// reads that file up to there, however much it grows meanwhile: nothing twice.
//
// Which file a segment's is shows by a record that both have at the same place,
// stamp and bytes. From there on nothing is missing: the file has all up to the
// seam, and memory all behind it, for a storer holds the producer back: what it has
// not written is not overwritten. Where the disk is slow, the oldest record in
// memory may not be on disk yet, and the one before it neither here nor there as a
// whole; then the search waits until it is. And as a search is no reason to hold a
// capture back, the producer may overtake it; then it begins anew.

// memory is what a queue's stream holds that is not on disk.
type memory struct {
	after   int    // the file that it follows, by its place in the list
	first   int64  // stamp of the first record in ns
	records []byte // RAW records that match
}

// liveWait is how long a storer may take to get to what the producer does not
// overwrite at once; it also bounds what a stream that shows nonsense can do.
// Tests, whose machine may have no time for a storer, make it longer.
var liveWait = 30 * time.Second

const (
	// chases is how often a seam is looked for again that has moved on.
	chases = 20

	// candidates is how many files of a port a segment's is looked for among.
	candidates = 4
)

var errOvertaken = errors.New("the capture overwrites its memory faster than it can be read: try again, or ask for what is on disk only")

// snapshot lists the files, and takes from each stream what they do not have.
// limits are the bytes that count of the files that may grow.
func (s *Search) snapshot(paths []string) (files []archive.File, live []memory, limits map[string]int64, err error) {
	for until := time.Now().Add(liveWait); ; time.Sleep(5 * time.Millisecond) {
		last := time.Now().After(until)
		files, live, limits, err = s.attempt(paths, last)
		if last || !errors.Is(err, errOvertaken) {
			break
		}
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("live data: %w", err)
	}
	return files, live, limits, nil
}

func (s *Search) attempt(paths []string, last bool) (files []archive.File, live []memory, limits map[string]int64, err error) {
	var listeners []*stream.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, socket := range s.q.Live {
		l, err := stream.Attach(socket, "query", stream.Options{Policy: stream.Lossy, Start: stream.FromOldest})
		if err != nil {
			return nil, nil, nil, err
		}
		listeners = append(listeners, l)
	}
	if files, err = archive.List(paths...); err != nil {
		return nil, nil, nil, err
	}
	limits = map[string]int64{}
	for i, l := range listeners {
		socket := s.q.Live[i]
		t := taker{search: s, listener: l, files: files, limits: limits, file: -1, last: last}
		_, t.queue = l.Source()
		if s.q.Queue != capture.AllQueues && t.queue != s.q.Queue {
			continue
		}
		if err := t.run(); err != nil {
			return nil, nil, nil, err
		}
		if t.file < 0 && len(t.live) > 0 && s.q.Port != "" {
			s.tell(socket + ": nothing of it is on disk yet, so that nobody can tell which port it is of: left out")
			continue
		}
		if !t.other {
			live = append(live, t.live...)
		}
	}
	return files, live, limits, nil
}

// taker takes one queue's records from memory.
type taker struct {
	search   *Search
	listener *stream.Listener
	queue    int
	files    []archive.File
	limits   map[string]int64 // by path

	begun  bool
	start  uint64 // of the segment at hand, in the stream
	seam   uint64 // up to where it is on disk, in the stream
	file   int    // the last file that was found; -1: none yet
	other  bool   // the files are of a port that is not wanted
	placed bool   // it is known to go on where the disk, or nothing, ends: there must be no gap
	missed uint64 // frames overtaken before that
	live   []memory
	last   bool // this attempt is the last one
}

// run takes what was published when it began.
func (t *taker) run() error {
	ctx, cancel := context.WithTimeout(context.Background(), liveWait)
	defer cancel()
	l := t.listener
	t.placed = l.Offset() == 0 // nothing has been overwritten
	target := l.Stats().Unread
	batch := make([]stream.Packet, 64)
	for passed := uint64(0); passed < target && !t.other; {
		n, err := l.ReadBatch(ctx, batch)
		if errors.Is(err, io.EOF) || errors.Is(err, stream.ErrAbandoned) {
			return nil
		}
		if err != nil {
			return err
		}
		missed := l.Stats().Overrun
		if t.placed && missed > t.missed {
			return errOvertaken
		}
		t.missed = missed
		left, err := t.packets(ctx, batch[:n])
		if err != nil {
			return err
		}
		st := l.Stats()
		passed = st.Read + st.Overrun + uint64(left)
	}
	return nil
}

// packets takes those of a batch that are not on disk, and tells how many the
// listener has still to give back.
func (t *taker) packets(ctx context.Context, batch []stream.Packet) (left int, err error) {
	for i := range batch {
		p := &batch[i]
		start, ok := t.listener.SegmentStart(p.Offset())
		if !ok {
			return 0, errOvertaken
		}
		if start != t.start || !t.begun {
			t.begun, t.start, t.seam = true, start, 0
			if moved, err := t.segment(ctx, p); err != nil || moved {
				return 0, err
			}
		}
		if p.Offset() >= t.seam {
			t.take(p)
		}
	}
	return len(batch), nil
}

// take takes a packet that is not on disk.
func (t *taker) take(p *stream.Packet) {
	t.placed = true
	s := t.search
	if !s.matches(p.UnixNano(), p.Data, int(p.Len)) {
		s.stats.Frames++
		return
	}
	after := t.file
	if after < 0 { // last of all
		after = len(t.files) + t.queue
	}
	if len(t.live) == 0 || t.live[len(t.live)-1].after != after {
		t.live = append(t.live, memory{after: after, first: p.UnixNano()})
	}
	m := &t.live[len(t.live)-1]
	m.records = appendRecord(m.records, p)
}

func appendRecord(b []byte, p *stream.Packet) []byte {
	var head [rawfile.HeaderLen]byte
	rawfile.Header{Sec: p.Sec, Nsec: p.Nsec, Caplen: uint16(len(p.Data)), Len: p.Len}.Put(head[:])
	return append(append(b, head[:]...), p.Data...)
}

// segment finds the file of the segment that p is of, and the seam, if p is on disk
// there. The listener has moved there if that is beyond what it has handed out.
func (t *taker) segment(ctx context.Context, p *stream.Packet) (moved bool, err error) {
	for {
		moved, where, err := t.look(p)
		if err != nil || where == onDisk || where == nowhere || t.placed {
			return moved, err
		}
		switch {
		case where == later && !t.last:
			return false, errOvertaken // its file is not listed yet
		case where == later:
			t.search.tell(fmt.Sprintf("queue %d is not being stored, it seems: what memory has of it begins at %v", t.queue, p.Time().UTC()))
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, errors.New("the storer does not get on: try again, or ask for what is on disk only")
		case <-time.After(time.Millisecond):
		}
	}
}

// place is where a packet is.
type place uint8

const (
	nowhere place = iota // the queue has no files
	later                // in none of its files
	short                // maybe in one that is too short to tell
	onDisk
)

// look looks for p on disk.
func (t *taker) look(p *stream.Packet) (moved bool, where place, err error) {
	record, at := appendRecord(nil, p), int64(p.Offset()-t.start)
	asked := map[string]int{}
	for i := len(t.files) - 1; i >= 0; i-- { // the newest of a port first
		f := t.files[i]
		if f.Queue != t.queue || f.First.IsZero() || f.First.UnixNano() > p.UnixNano() || asked[f.Port] == candidates {
			continue
		}
		asked[f.Port]++
		c := &cursor{search: t.search, file: f, limit: -1}
		if err := c.hold(); err != nil {
			if missing(err) {
				continue // deleted meanwhile
			}
			return false, where, err
		}
		defer c.close()
		where = max(where, later)
		there, cut, err := c.has(record, at)
		switch _, known := t.limits[f.Path]; {
		case err != nil:
			return false, where, err
		case there:
			moved, err := t.toSeam(i, c, at)
			return moved, onDisk, err
		case cut && f.Part:
			if where = short; !known {
				t.limits[f.Path] = c.size // what it gets from now on is in memory
			}
		}
	}
	return false, where, nil
}

func (t *taker) found(file int, limit int64) {
	f := t.files[file]
	t.file, t.limits[f.Path] = file, limit
	t.other = t.search.q.Port != "" && f.Port != t.search.q.Port
}

// toSeam finds the seam, behind the last whole record on disk of a file which has
// one at byte at, and moves the listener there, unless it is there already. The
// storer may go on meanwhile, and the producer follow it, so that the seam, too,
// moves on.
func (t *taker) toSeam(file int, c *cursor, at int64) (moved bool, err error) {
	side := c.liveSidecar()
	at = max(at, side.End())
	for range chases {
		if at, err = c.wholeFrom(at); err != nil {
			return false, err
		}
		t.found(file, at)
		t.seam, t.placed = t.start+uint64(at), true
		if t.seam <= t.listener.Offset() {
			return false, nil
		}
		err = t.listener.SkipTo(t.seam)
		if !errors.Is(err, stream.ErrOverrun) {
			return true, err
		}
	}
	return false, errOvertaken
}

// has tells whether a file has a record at a place, or is too short to tell.
func (c *cursor) has(record []byte, at int64) (there, short bool, err error) {
	if c.file.Part {
		c.size = archive.Stored(c.f, c.size)
	}
	if c.size < at+int64(len(record)) {
		return false, true, nil
	}
	b, err := c.read(at, len(record))
	return bytes.Equal(b, record), false, err
}

// liveSidecar is as much of a file's sidecar as there is. It shortens the walk to
// the seam, and no more: without it the walk is longer.
func (c *cursor) liveSidecar() *Sidecar {
	side, n, _ := Load(c.file.Sidecar(), c.size)
	c.search.stats.IndexRead += n
	if side.Fits(c.f, c.file.Part, c.size, &c.search.stats.Read) != nil {
		return &Sidecar{}
	}
	return side
}

// wholeFrom is where the file's whole records end, the first of which is at a place.
func (c *cursor) wholeFrom(at int64) (int64, error) {
	for {
		c.grow()
		if c.file.Part {
			c.size = archive.Stored(c.f, c.size)
		}
		b, err := c.read(at, pieceLen)
		if err != nil {
			return 0, err
		}
		n := 0
		for {
			size, err := whole(b[n:])
			if err != nil {
				break
			}
			n += size
		}
		if n == 0 {
			return at, nil
		}
		at += int64(n)
	}
}

// Sockets are the streams that a capture shares in a folder (hpcapdd --share).
func Sockets(dir string) ([]string, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	var all []string
	for queue := 0; ; queue++ {
		path := fmt.Sprintf("%s/queue%d.sock", dir, queue)
		if _, err := os.Stat(path); err != nil {
			break
		}
		all = append(all, path)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no capture shares its queues there (hpcapdd --share)", dir)
	}
	return all, nil
}

package index

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// pieceLen is how many bytes are read at once of what no entry describes: more
// than any record or block has.
const pieceLen = rawfile.Block + rawfile.HeaderLen + rawfile.MaxData

// cursor goes through one file's packets that match, or through those that a
// capture has in memory.
//
// It is in one of three states: not opened or between two pieces of the file (key
// is a stamp before which it has nothing), ready (rec is its next packet, key the
// stamp), done.
type cursor struct {
	search *Search
	file   archive.File
	order  int   // settles equal keys
	size   int64 // of the file
	limit  int64 // bytes of it that count: the search has the rest from memory; -1: all do

	key         int64
	rec         rawfile.Record
	ready, done bool

	f       *os.File // nil: not held
	locked  bool
	entries []Entry // of blocks to be read
	tail    int64   // where what no entry describes begins; -1: all is described
	buf     []byte
	piece   []byte // what is left of the piece of the file at hand: whole records
}

func (c *cursor) compare(d *cursor) int {
	return cmp.Or(cmp.Compare(c.key, d.key), cmp.Compare(c.order, d.order))
}

// hold opens the file, which may have been closed, and so renamed, since it was
// listed.
func (c *cursor) hold() (err error) {
	if c.f != nil {
		return nil
	}
	c.f, err = os.Open(c.file.Path)
	if final, ok := strings.CutSuffix(c.file.Path, archive.RawPart); ok && missing(err) {
		c.file.Path = final + archive.Raw
		c.f, err = os.Open(c.file.Path)
	}
	if err != nil {
		return err
	}
	archive.NoReadahead(c.f) // what is read ahead would be read in vain
	c.grow()
	return nil
}

// grow looks how much of the file there is, and sees to it that it stays. Nobody
// deletes what is being written, and who writes it has its lock.
func (c *cursor) grow() {
	if info, err := c.f.Stat(); err == nil {
		c.size = info.Size()
	}
	if !c.locked && c.size > 0 {
		c.locked = archive.LockShared(c.f) == nil
	}
}

// release lets go of the file until it is opened.
func (c *cursor) release() {
	if c.f != nil {
		c.f.Close()
		c.f, c.locked = nil, false
	}
}

// head reads the file's first bytes, as many as there are.
func (c *cursor) head(b []byte) error {
	n, err := c.f.ReadAt(b, 0)
	c.search.stats.Read += int64(n)
	if err == io.EOF {
		err = nil
	}
	return err
}

// open chooses the file's blocks. It reports whether there are any.
func (c *cursor) open() bool {
	if c.file.Path == "" {
		c.tail = -1
		return true
	}
	s := c.search
	if err := c.hold(); err != nil {
		s.fault(c, err)
		return false
	}
	c.grow()
	side := c.sidecar()
	if c.file.Part {
		c.size = archive.Stored(c.f, c.size)
	}
	if c.limit >= 0 {
		c.size = min(c.size, c.limit)
	}
	side.cut(c.size)
	c.tail = -1
	if !side.Whole && side.End() < c.size {
		c.tail = side.End()
		s.stats.Unindexed++
	}
	for i := range side.Entries {
		e := &side.Entries[i]
		s.stats.Blocks++
		switch {
		case e.Latest < s.from || e.Earliest >= s.to:
			s.stats.Early++
		case !e.may(s.needs):
			s.stats.Without++
		default:
			c.entries = append(c.entries, *e)
		}
	}
	c.bound()
	if c.done {
		c.close()
	}
	return !c.done
}

// sidecar gives what can be believed of the file's sidecar.
func (c *cursor) sidecar() *Sidecar {
	s := c.search
	side, n, err := Load(c.file.Sidecar(), c.size)
	s.stats.IndexRead += n
	switch {
	case missing(err) && c.file.Part:
		s.notice(c, "it has no index yet: scanned")
	case missing(err):
		s.notice(c, "it has no index: scanned (hpcapq repair makes one)")
	case err != nil && !c.file.Part: // one being written may be cut
		s.notice(c, "%v: scanned from byte %d (hpcapq repair makes a new one)", err, side.End())
	}
	if err := side.Fits(c.f, c.file.Part, c.size, &s.stats.Read); err != nil {
		s.notice(c, "%v: scanned (hpcapq repair makes a new one)", err)
		return &Sidecar{}
	}
	if err == nil && !side.Whole && !c.file.Part {
		s.notice(c, "its index ends at byte %d: scanned from there (hpcapq repair makes a new one)", side.End())
	}
	return side
}

// bound sets the key by what is to be read next, or ends.
func (c *cursor) bound() {
	switch {
	case len(c.entries) > 0:
		c.key = max(c.key, c.entries[0].Earliest, c.search.from)
	case c.tail < 0:
		c.done = true
	}
}

// load reads the next piece of the file, unless there is one, and goes to its first
// match.
func (c *cursor) load() {
	if c.f != nil && !c.locked {
		c.locked = archive.LockShared(c.f) == nil // its writer may be done with it
	}
	switch {
	case len(c.piece) > 0:
	case len(c.entries) > 0:
		c.block()
	default:
		c.scan()
	}
	if !c.done {
		c.advance()
	}
}

// block reads the records that begin in the next block wanted, and checks that
// they are those that its entry is about.
func (c *cursor) block() {
	e := c.entries[0]
	c.entries = c.entries[1:]
	b, err := c.read(e.First, int(e.End-e.First))
	if len(c.entries) > 0 {
		next := c.entries[0]
		_ = unix.Fadvise(int(c.f.Fd()), next.First, next.End-next.First, unix.FADV_WILLNEED)
	}
	if err == nil && e.describes(b) {
		c.piece = b
		return
	}
	if err != nil {
		c.search.fault(c, err)
		c.bound()
		return
	}
	// From here on the file speaks for itself. What was passed over before may have
	// been so wrongly.
	c.search.fault(c, errMismatch(e.First))
	c.search.stats.Unindexed++
	c.entries, c.tail = nil, e.First
}

// describes tells whether b is the records that e was made from, by their headers.
func (e *Entry) describes(b []byte) bool {
	s, frames := uint64(0), uint32(0)
	for len(b) > 0 {
		if len(b) < rawfile.HeaderLen {
			return false
		}
		n := rawfile.HeaderLen + int(rawfile.DecodeHeader(b).Caplen)
		if n > len(b) {
			return false
		}
		s = sum(s, b)
		b = b[n:]
		frames++
	}
	return s == e.Sum && frames == e.Frames
}

// scan reads the next whole records of what no entry describes.
func (c *cursor) scan() {
	b, err := c.read(c.tail, pieceLen)
	if err != nil {
		c.search.fault(c, err)
		c.done = true
		return
	}
	at := 0
	for at < len(b) {
		n, err := whole(b[at:])
		if err != nil && at > 0 && c.tail+int64(len(b)) < c.size && errors.Is(err, io.ErrUnexpectedEOF) {
			break // its rest is in the next piece
		}
		if err != nil {
			c.end(c.tail+int64(at), err)
			break
		}
		at += n
	}
	c.piece = b[:at]
	if c.tail >= 0 {
		c.tail += int64(at)
		if c.tail >= c.size {
			c.tail = -1
		}
	}
}

// end ends the scan at a place where there is no whole record: at the padding, or
// where a file being written ends; anything else is a fault.
func (c *cursor) end(at int64, err error) {
	c.tail = -1
	if err == io.EOF || c.file.Part && errors.Is(err, io.ErrUnexpectedEOF) {
		return
	}
	c.search.fault(c, errAt(at, err))
}

// whole is the length of the record at the start of b. The error is io.EOF for
// padding, wraps io.ErrUnexpectedEOF for a record of which there is only a part,
// and rawfile.ErrFormat for none.
func whole(b []byte) (int, error) {
	if len(b) < rawfile.HeaderLen {
		return 0, io.ErrUnexpectedEOF
	}
	h := rawfile.DecodeHeader(b)
	if err := h.Check(); err != nil {
		return 0, err
	}
	if h.IsPadding() {
		return 0, io.EOF
	}
	n := rawfile.HeaderLen + int(h.Caplen)
	if n > len(b) {
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}

// read reads n bytes at off, or as many as there are.
func (c *cursor) read(off int64, n int) ([]byte, error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, pieceLen)
	}
	n = int(max(0, min(int64(n), c.size-off)))
	got, err := c.f.ReadAt(c.buf[:n], off)
	c.search.stats.Read += int64(got)
	if err == io.EOF {
		err = nil
	}
	return c.buf[:got], err
}

// advance goes to the next packet that matches, or to the end of the piece.
func (c *cursor) advance() {
	s := c.search
	for len(c.piece) > 0 {
		h := rawfile.DecodeHeader(c.piece)
		n := rawfile.HeaderLen + int(h.Caplen)
		data := c.piece[rawfile.HeaderLen:n:n]
		c.piece = c.piece[n:]
		s.stats.Frames++
		ns := stamp(h)
		if !s.matches(ns, data, int(h.Len)) {
			c.key = max(c.key, ns) // so that files with earlier packets go first
			continue
		}
		c.rec = rawfile.Record{Sec: h.Sec, Nsec: h.Nsec, Len: h.Len, Data: data}
		c.key, c.ready = ns, true
		return
	}
	c.bound()
}

func (c *cursor) close() {
	c.release()
	c.entries, c.buf, c.piece = nil, nil, nil
}

// errMismatch is about an entry that tells of other records than there are.
func errMismatch(at int64) error {
	return fmt.Errorf("from byte %d on: %w; what it ruled out before may be missing (hpcapq repair makes a new one)", at, ErrStale)
}

// errAt is about bytes at which no whole record begins.
func errAt(at int64, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("file is cut: the record at byte %d is not complete: %w", at, err)
	}
	return fmt.Errorf("at byte %d: %w", at, err)
}

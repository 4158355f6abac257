package query

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// pieceLen is how many bytes are read at once where no index entry describes the file:
// more than any record or block has.
const pieceLen = rawfile.Block + rawfile.HeaderLen + rawfile.MaxData

// cursor iterates over the matching packets of one file, or over live records.
//
// Its states are: pending or between two pieces of the file (key is a stamp before
// which it has no packet), ready (rec is the next packet, key its stamp), done.
type cursor struct {
	result *Result
	file   archive.File // Path "": live records
	order  int          // order of cursors with equal keys
	size   int64        // of the file
	limit  int64        // bytes of it to read, because the rest is in the live records; -1: all

	key         int64
	rec         rawfile.Record
	ready, done bool

	f       *os.File // nil: not open
	locked  bool
	entries []index.Entry // of the blocks to read
	tail    int64         // start of the bytes that no entry describes; -1: none
	buf     []byte
	piece   []byte // rest of the current piece: complete records
}

func (c *cursor) compare(d *cursor) int {
	return cmp.Or(cmp.Compare(c.key, d.key), cmp.Compare(c.order, d.order))
}

// openFile opens the file, which its writer may have closed, and so renamed, since it
// was listed.
func (c *cursor) openFile() (err error) {
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
	archive.NoReadahead(c.f)
	c.refresh()
	return nil
}

// refresh reads the size of the file and locks it, so that it is not deleted. A file
// that is being written has its writer's lock and is not deleted either.
func (c *cursor) refresh() {
	if info, err := c.f.Stat(); err == nil {
		c.size = info.Size()
	}
	if !c.locked && c.size > 0 {
		c.locked = archive.LockShared(c.f) == nil
	}
}

func (c *cursor) closeFile() {
	if c.f != nil {
		c.f.Close()
		c.f, c.locked = nil, false
	}
}

// readHead reads the file's first bytes, up to len(b).
func (c *cursor) readHead(b []byte) error {
	n, err := c.f.ReadAt(b, 0)
	c.result.stats.Read += int64(n)
	if err == io.EOF {
		err = nil
	}
	return err
}

// open selects the blocks to read, and reports whether there are any.
func (c *cursor) open() bool {
	if c.file.Path == "" {
		c.tail = -1
		return true
	}
	r := c.result
	if err := c.openFile(); err != nil {
		r.fault(c, err)
		return false
	}
	c.refresh()
	side := c.sidecar()
	if c.file.Part {
		c.size = archive.Stored(c.f, c.size)
	}
	if c.limit >= 0 {
		c.size = min(c.size, c.limit)
	}
	side.Truncate(c.size)
	c.tail = -1
	if !side.Complete && side.End() < c.size {
		c.tail = side.End()
		r.stats.Unindexed++
	}
	for i := range side.Entries {
		e := &side.Entries[i]
		r.stats.Blocks++
		switch {
		case e.Latest < r.from || e.Earliest >= r.to:
			r.stats.BlocksOutside++
		case !e.May(r.needs):
			r.stats.BlocksRuled++
		default:
			c.entries = append(c.entries, *e)
		}
	}
	c.nextKey()
	if c.done {
		c.close()
	}
	return !c.done
}

// sidecar returns the part of the file's index that is valid.
func (c *cursor) sidecar() *index.Sidecar {
	r := c.result
	side, n, err := index.Load(c.file.Sidecar(), c.size)
	r.stats.IndexRead += n
	switch {
	case missing(err) && c.file.Part:
		r.warn(c, "no index yet: read completely")
	case missing(err):
		r.warn(c, "no index: read completely. Build one with: hpcapq repair")
	case err != nil && !c.file.Part: // one that is being written may be cut
		r.warn(c, "%v: read without index from byte %d. Rebuild it with: hpcapq repair", err, side.End())
	}
	if err := side.Fits(c.f, c.file.Part, c.size, &r.stats.Read); err != nil {
		r.warn(c, "%v: read completely. Rebuild it with: hpcapq repair", err)
		return &index.Sidecar{}
	}
	if err == nil && !side.Complete && !c.file.Part {
		r.warn(c, "index ends at byte %d: read without index from there. Rebuild it with: hpcapq repair", side.End())
	}
	return side
}

// nextKey sets the key to the earliest stamp of the next read, or done.
func (c *cursor) nextKey() {
	switch {
	case len(c.entries) > 0:
		c.key = max(c.key, c.entries[0].Earliest, c.result.from)
	case c.tail < 0:
		c.done = true
	}
}

// load reads the next piece of the file if there is none, and advances to its first
// match.
func (c *cursor) load() {
	if c.f != nil && !c.locked {
		c.locked = archive.LockShared(c.f) == nil // its writer may have finished
	}
	switch {
	case len(c.piece) > 0:
	case len(c.entries) > 0:
		c.readBlock()
	default:
		c.readTail()
	}
	if !c.done {
		c.advance()
	}
}

// readBlock reads the records that begin in the next block, and checks that its entry
// describes them.
func (c *cursor) readBlock() {
	e := c.entries[0]
	c.entries = c.entries[1:]
	b, err := c.read(e.First, int(e.End-e.First))
	if len(c.entries) > 0 {
		next := c.entries[0]
		_ = unix.Fadvise(int(c.f.Fd()), next.First, next.End-next.First, unix.FADV_WILLNEED)
	}
	if err == nil && e.Describes(b) {
		c.piece = b
		return
	}
	if err != nil {
		c.result.fault(c, err)
		c.nextKey()
		return
	}
	// Read the rest without the index. Blocks skipped before may have matched.
	c.result.fault(c, errMismatch(e.First))
	c.result.stats.Unindexed++
	c.entries, c.tail = nil, e.First
}

// readTail reads the next complete records of the bytes that no entry describes.
func (c *cursor) readTail() {
	b, err := c.read(c.tail, pieceLen)
	if err != nil {
		c.result.fault(c, err)
		c.done = true
		return
	}
	at := 0
	for at < len(b) {
		n, err := rawfile.Measure(b[at:])
		if err != nil && at > 0 && c.tail+int64(len(b)) < c.size && errors.Is(err, io.ErrUnexpectedEOF) {
			break // its rest is in the next piece
		}
		if err != nil {
			c.endTail(c.tail+int64(at), err)
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

// endTail ends the file at a byte where no complete record begins. It is a fault
// unless there is padding, or the end of a file that is being written.
func (c *cursor) endTail(at int64, err error) {
	c.tail = -1
	if err == io.EOF || c.file.Part && errors.Is(err, io.ErrUnexpectedEOF) {
		return
	}
	c.result.fault(c, errAt(at, err))
}

// read reads n bytes at off, fewer at the end of the file.
func (c *cursor) read(off int64, n int) ([]byte, error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, pieceLen)
	}
	n = int(max(0, min(int64(n), c.size-off)))
	got, err := c.f.ReadAt(c.buf[:n], off)
	c.result.stats.Read += int64(got)
	if err == io.EOF {
		err = nil
	}
	return c.buf[:got], err
}

// advance moves to the next packet that matches, or to the end of the piece.
func (c *cursor) advance() {
	r := c.result
	for len(c.piece) > 0 {
		h := rawfile.DecodeHeader(c.piece)
		n := rawfile.HeaderLen + int(h.Caplen)
		data := c.piece[rawfile.HeaderLen:n:n]
		c.piece = c.piece[n:]
		r.stats.Frames++
		ns := h.UnixNano()
		if !r.matches(ns, data, int(h.Len)) {
			c.key = max(c.key, ns) // so that cursors with earlier packets come first
			continue
		}
		c.rec = rawfile.Record{Sec: h.Sec, Nsec: h.Nsec, Len: h.Len, Data: data}
		c.key, c.ready = ns, true
		return
	}
	c.nextKey()
}

func (c *cursor) close() {
	c.closeFile()
	c.entries, c.buf, c.piece = nil, nil, nil
}

// errMismatch is the error of an index entry that does not describe the records.
func errMismatch(at int64) error {
	return fmt.Errorf("from byte %d on: %w: packets before it may be missing. Rebuild the index with: hpcapq repair", at, index.ErrStale)
}

// errAt is the error of a byte at which no complete record begins.
func errAt(at int64, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("file is cut: the record at byte %d is not complete: %w", at, err)
	}
	return fmt.Errorf("at byte %d: %w", at, err)
}

package query

import (
	"errors"
	"fmt"
	"io"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Lengths of the pieces that are read at once where no index entry describes the file:
// more than any record or block has. If many files are read at the same time the
// pieces are smaller.
const (
	maxPiece    = rawfile.Block + rawfile.HeaderLen + rawfile.MaxData
	minPiece    = 64<<10 + rawfile.HeaderLen + rawfile.MaxData
	pieceBudget = 256 << 20 // bytes of all pieces
)

func (r *Result) pieceLen() int {
	return max(minPiece, min(maxPiece, pieceBudget/max(len(r.active), 1)))
}

// rawReader reads a RAW file by its index, or live records.
type rawReader struct {
	*cursor
	size  int64 // of the file, as far as it is stored
	limit int64 // bytes of it to read, because the rest is in the live records; -1: all

	entries []index.Entry // of the blocks to read
	tail    int64         // start of the bytes that no entry describes; -1: none
	whole   int64         // end of the complete records, once tail is -1
	buf     []byte
	piece   []byte // rest of the current piece: complete records
}

// plan implements reader.
func (c *rawReader) plan() bool {
	r := c.result
	c.size = c.in.size
	if c.growing {
		c.key = c.file.First.UnixNano()
	}
	if c.size == 0 {
		return c.growing
	}
	first, t, ok, err := index.Peek(c.file.Sidecar(), &r.stats.IndexRead)
	if err != nil && !missing(err) {
		r.warn(c.cursor, "index cannot be read: %v", err)
	}
	var head [rawfile.HeaderLen]byte
	if _, err := c.in.ReadAt(head[:], 0); err != nil && err != io.EOF {
		r.fault(c.cursor, err)
		return false
	}
	switch {
	case ok && t.Length == c.size && t.Entries > 0 && head == first.Head:
		c.key = max(t.Earliest, r.from)
		return t.Latest >= r.from && t.Earliest < r.to
	case !c.file.First.IsZero() && rawfile.DecodeHeader(head[:]).UnixNano() == c.file.First.UnixNano():
		// No index, or one that is incomplete or not the file's; begin finds out which.
		c.key = c.file.First.UnixNano()
	}
	return true
}

// begin implements reader: it selects the blocks to read.
func (c *rawReader) begin() bool {
	c.tail = -1
	if c.in == nil {
		return true
	}
	r := c.result
	if err := c.stat(); err != nil {
		r.fault(c.cursor, err)
		return false
	}
	side := c.sidecar()
	if c.limit >= 0 {
		c.size = min(c.size, c.limit)
	}
	if c.file.Part {
		r.addGrowing(c.packet.Source, 1)
	} else {
		r.addUncertainty(c.packet.Source, side.Trailer.Uncertainty)
	}
	side.Truncate(c.size)
	c.whole = side.End()
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
	return !c.done
}

// stat opens the file and reads its size.
func (c *rawReader) stat() error {
	f, err := c.in.read()
	if err != nil {
		return err
	}
	c.file.Path = c.in.path
	c.in.refresh()
	if archive.Reclaimed(f) {
		return archive.ErrReclaimed
	}
	c.size = c.in.size
	if c.file.Part {
		c.size = archive.Stored(f, c.size)
	}
	return nil
}

// closed implements reader: the index of a file whose writer has closed it is complete.
func (c *rawReader) closed() {
	if !c.in.begun {
		return
	}
	_, t, ok, _ := index.Peek(c.file.Sidecar(), &c.result.stats.IndexRead)
	if ok && t.Length == c.in.size && t.Uncertainty > 0 {
		c.result.addGrowing(c.packet.Source, -1)
		c.result.addUncertainty(c.packet.Source, t.Uncertainty)
	}
}

// sidecar returns the part of the file's index that is valid.
func (c *rawReader) sidecar() *index.Sidecar {
	r := c.result
	side, n, err := index.Load(c.file.Sidecar(), c.size)
	r.stats.IndexRead += n
	switch {
	case missing(err) && c.growing:
	case missing(err) && c.file.Part:
		r.warn(c.cursor, "no index yet: read completely")
	case missing(err) && c.in.deleted():
		r.warn(c.cursor, "was deleted during the query, with its index: read completely")
	case missing(err):
		r.warn(c.cursor, "no index: read completely. Build one with: hpcapq repair")
	case err != nil && !c.file.Part: // one that is being written may be cut
		r.warn(c.cursor, "%v: read without index from byte %d. Rebuild it with: hpcapq repair", err, side.End())
	}
	if err := side.Fits(c.in, c.file.Part, c.size, new(int64)); err != nil {
		r.warn(c.cursor, "%v: read completely. Rebuild it with: hpcapq repair", err)
		return &index.Sidecar{}
	}
	if err == nil && !side.Complete && !c.file.Part {
		r.warn(c.cursor, "index ends at byte %d: read without index from there. Rebuild it with: hpcapq repair", side.End())
	}
	return side
}

// nextKey sets the key to the earliest stamp of the next read, or done.
func (c *rawReader) nextKey() {
	switch {
	case len(c.entries) > 0:
		c.key = max(c.key, c.entries[0].Earliest, c.result.from)
	case c.tail < 0:
		c.end()
	}
}

// extend implements reader.
func (c *rawReader) extend(size int64) {
	c.size = size
	if !c.growing {
		c.limit = size
	}
	if c.tail < 0 && c.whole < c.size {
		c.tail = c.whole
	}
	if c.idle {
		c.idle = false
		c.nextKey()
	}
}

// load implements reader.
func (c *rawReader) load() {
	switch {
	case len(c.piece) > 0:
	case len(c.entries) > 0:
		c.readBlock()
	default:
		c.readTail()
	}
	if !c.done && !c.idle {
		c.advance()
	}
}

// readBlock reads the records that begin in the next block, and checks that its entry
// describes them.
func (c *rawReader) readBlock() {
	e := c.entries[0]
	c.entries = c.entries[1:]
	b, err := c.read(e.First, int(e.End-e.First))
	if len(c.entries) > 0 {
		c.in.willNeed(c.entries[0].First, c.entries[0].End-c.entries[0].First)
	}
	if err == nil && e.Describes(b) {
		c.piece = b
		return
	}
	if err != nil {
		c.result.fault(c.cursor, err)
		c.nextKey()
		return
	}
	// Read the rest without the index. Blocks skipped before may have matched.
	c.result.fault(c.cursor, errMismatch(e.First))
	c.result.stats.Unindexed++
	c.entries, c.tail = nil, e.First
}

// readTail reads the next complete records of the bytes that no entry describes.
func (c *rawReader) readTail() {
	b, err := c.read(c.tail, c.result.pieceLen())
	if err != nil {
		c.result.fault(c.cursor, err)
		c.tail, c.growing = -1, false
		c.end()
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
			c.tail, c.whole = -1, c.tail
		}
	}
}

// endTail ends the file at a byte where no complete record begins. It is a fault
// unless there is padding, or the end of a file that is being written.
func (c *rawReader) endTail(at int64, err error) {
	c.tail, c.whole = -1, at
	if err == io.EOF || c.file.Part && errors.Is(err, io.ErrUnexpectedEOF) {
		return
	}
	c.growing = false
	c.result.fault(c.cursor, errAt(at, err))
}

// read reads n bytes at off, fewer at the end of the file.
func (c *rawReader) read(off int64, n int) ([]byte, error) {
	n = int(max(0, min(int64(n), c.size-off)))
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	got, err := c.in.ReadAt(c.buf[:n], off)
	if err == io.EOF {
		err = nil
	}
	return c.buf[:got], err
}

// advance implements reader.
func (c *rawReader) advance() {
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
		c.deliver(pcapfile.Packet{Nano: ns, Len: uint32(h.Len), Data: data})
		return
	}
	c.nextKey()
}

// free implements reader.
func (c *rawReader) free() { c.entries, c.buf, c.piece = nil, nil, nil }

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

package query

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// packetReader reads a packet file: from its start, or from the frame of the span's
// first packet if it has a seek table.
type packetReader struct {
	*cursor
	size    int64           // of the file, as far as it is stored
	written bool            // the file is being written
	table   *pcapfile.Table // nil: none
	tail    *pcapfile.Tail  // of a file that is growing; else nil
	packets *capfile.Reader
	sources []source // by interface of the file
	count   uint64   // packets read
	own     *Source  // of interfaces without a name
	begins  int64    // stamp of the first of them, ns
}

// source is the source of an interface's packets.
type source struct {
	*Source
	lost uint64 // before its next packet of the result
}

// scanLen is how many packets that do not match are read at once.
const scanLen = 4096

// plan implements reader.
func (c *packetReader) plan() bool {
	f, err := c.in.read()
	if err != nil {
		c.result.fault(c.cursor, err)
		return false
	}
	c.size, c.written = c.in.size, c.file.Part
	if c.written {
		c.size = archive.Stored(f, c.size)
	} else {
		c.written, _ = archive.HasWriter(f)
	}
	if c.growing {
		c.tail, c.key = pcapfile.NewTail(c.in), c.file.First.UnixNano()
		return true
	}
	if c.size == 0 {
		if !c.written {
			c.result.fault(c.cursor, errEmpty)
		}
		return false
	}
	first, err := c.first()
	switch {
	case err == io.EOF:
		return false
	case err != nil:
		c.result.fault(c.cursor, err)
		return false
	case c.file.Stored() && first >= c.result.to:
		return false
	}
	c.key = first
	return true
}

// errEmpty is the error about a file of 0 bytes that nothing writes.
var errEmpty = errors.New("empty: 0 bytes, without a capture header. Its writer may have been stopped, or its disk was full")

// first returns the stamp of the file's first packet.
func (c *packetReader) first() (int64, error) {
	var err error
	if c.table, err = pcapfile.ReadTable(c.in.section(c.size), c.size); err != nil {
		return 0, err
	}
	if c.table != nil {
		switch first, err := c.table.First(0); {
		case err != nil:
			return c.result.from, nil // the frame is damaged, and the others may not be
		case first == math.MaxInt64:
			return first, io.EOF
		default:
			return first, nil
		}
	}
	if err := c.open(c.in.section(c.size)); err != nil {
		return 0, c.tolerate(err)
	}
	defer c.free()
	p, err := c.packets.Next()
	return p.Nano, c.tolerate(err)
}

// open reads the header.
func (c *packetReader) open(src io.Reader) (err error) {
	c.packets, err = capfile.NewReader(src, capfile.Options{})
	return err
}

// tolerate returns io.EOF in place of the error about the end of a file that is being
// written.
func (c *packetReader) tolerate(err error) error {
	if c.written && errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

// begin implements reader.
func (c *packetReader) begin() bool {
	c.own = c.packet.Source
	c.result.addGrowing(c.own, 1) // until its end, which tells the uncertainty
	if c.tail != nil {
		c.nextPiece()
		return !c.done
	}
	var src io.Reader = c.in.section(c.size)
	if c.table != nil {
		src = c.table.From(c.result.from, func(err error) { c.result.fault(c.cursor, err) })
	} else {
		c.result.stats.Unindexed++
	}
	err := c.open(src)
	if err = c.tolerate(err); err != nil && err != io.EOF {
		c.result.fault(c.cursor, err)
	}
	return err == nil
}

// nextPiece opens the next piece of a file that is growing, and reports whether there
// is one.
func (c *packetReader) nextPiece() bool {
	src, err := c.tail.Next(c.size)
	for errors.As(err, new(*pcapfile.FrameError)) {
		c.result.fault(c.cursor, err)
		src, err = c.tail.Next(c.size)
	}
	if err == nil {
		c.free()
		err = c.open(src)
	}
	switch {
	case err == nil:
		return true
	case err != io.EOF:
		c.result.fault(c.cursor, err)
		c.growing = false
	case !c.file.Part && !c.tail.Whole(c.size):
		c.result.fault(c.cursor, fmt.Errorf("packet %d: %w", c.count+1, io.ErrUnexpectedEOF))
	}
	c.end()
	return false
}

// extend implements reader.
func (c *packetReader) extend(size int64) {
	c.size = size
	if c.idle {
		c.idle = false
		c.nextPiece()
	}
}

// closed implements reader.
func (c *packetReader) closed() {}

// load implements reader.
func (c *packetReader) load() { c.advance() }

// advance implements reader.
func (c *packetReader) advance() {
	r := c.result
	for range scanLen {
		p, err := c.packets.Next()
		if err == io.EOF {
			c.addStatistics()
		}
		if err == io.EOF && c.tail != nil {
			if c.nextPiece() {
				continue
			}
			return
		}
		if err != nil {
			c.endFile(err)
			return
		}
		if c.count++; c.count == 1 {
			c.begins = p.Nano
		}
		if c.file.Stored() && p.Nano >= r.to {
			c.endFile(io.EOF) // stamps of one queue never go backwards
			return
		}
		r.stats.Frames++
		s := c.source(p.Interface)
		s.lost += p.Dropped
		c.key = max(c.key, p.Nano)
		if r.matches(p.Nano, p.Data, int(p.Len)) {
			c.packet.Source = s.Source
			c.deliver(pcapfile.Packet{Nano: p.Nano, Len: p.Len, Data: p.Data, Dropped: s.lost, Comment: p.Comment})
			s.lost = 0
			return
		}
	}
}

// addStatistics adds what the file's statistics say. They come last.
func (c *packetReader) addStatistics() {
	for i, face := range c.packets.Interfaces() {
		s := c.source(i).Source
		if face.Stats == nil {
			if c.tail == nil {
				c.result.addUncertainty(s, 0)
			}
			continue
		}
		if s == c.own {
			c.result.addGrowing(s, -1)
		}
		c.result.addUncertainty(s, pcapfile.ParseUncertainty(face.Stats.Comment))
		if c.count == 0 || c.begins >= c.result.from {
			s.Received += value(face.Stats.Received)
			s.Dropped += value(face.Stats.Dropped)
		}
	}
}

// value returns a counter; 0: not known.
func value(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

// endFile ends the file. What the reader left out or changed is told.
func (c *packetReader) endFile(err error) {
	c.done = true
	if err = c.tolerate(err); err != io.EOF {
		c.result.fault(c.cursor, err)
	}
	for _, n := range c.packets.Counts() {
		switch {
		case n.Cause.LeftOut():
			c.result.fault(c.cursor, errors.New(n.String()))
		case n.Cause != capfile.UnknownBlock:
			c.result.warn(c.cursor, "%v", n)
		}
	}
}

// source returns the source of an interface of the file: the queue that the file's name
// says, or the interface itself.
func (c *packetReader) source(number int) *source {
	for i := len(c.sources); i <= number; i++ {
		s := source{Source: c.own}
		if face := c.packets.Interfaces()[i]; c.file.Queue < 0 && face.Name != "" {
			s.Source = c.result.sourceOf(fmt.Sprintf("%s %d", c.file.Path, i), face.Name, face.Description)
		}
		c.sources = append(c.sources, s)
	}
	return &c.sources[number]
}

// free implements reader.
func (c *packetReader) free() {
	if c.packets != nil {
		c.packets.Close()
		c.packets = nil
	}
}

// fileSource returns the source of a file's packets.
func (r *Result) fileSource(f archive.File) *Source {
	if f.Queue >= 0 {
		return r.source(f.Port, f.Queue)
	}
	return r.sourceOf(f.Path, filepath.Base(f.Path), "")
}

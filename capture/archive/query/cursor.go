package query

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// Packet is a packet of a result.
type Packet struct {
	pcapfile.Packet
	Source *Source
}

// Source is where packets were captured: a port's queue, or an interface of a file of
// another program.
type Source struct {
	Number      int // in the order in which the sources' first packets came
	Name        string
	Description string

	// Received and Dropped are those of the statistics of pcapng files (pcapfile.Statistics)
	// that were read to their end and are in the window from their first packet on.
	Received, Dropped uint64
}

// cursor iterates over the matching packets of one file, or over live records.
//
// Its states are: pending or between two pieces of the file (key is a stamp before
// which it has no packet), ready (packet is the next one, key its stamp), idle, done.
type cursor struct {
	result *Result
	reader reader
	file   archive.File // Path "": live records
	in     *input       // nil: live records
	base   string       // orders cursors of a queue with equal keys: the file's final name, or that of the file before live records

	key         int64
	packet      Packet
	ready, done bool

	growing bool // the file is being written, and the query follows it
	idle    bool // all that was written so far is read
}

// reader reads the packets of one cursor.
type reader interface {
	// plan sets the cursor's key to a stamp before which the file has no packet, and
	// reports whether the file may have packets of the span.
	plan() bool

	// begin selects what to read, and reports whether there is anything.
	begin() bool

	// load reads until the next packet that matches, or the next piece of the file.
	load()

	// advance moves to the next packet that matches, as far as it is in memory.
	advance()

	// extend makes the reader go on up to size bytes of the file, in any state but done.
	extend(size int64)

	// closed tells that the writer of a file that grew has closed it.
	closed()

	// free frees the memory.
	free()
}

func (c *cursor) compare(d *cursor) int {
	return cmp.Or(cmp.Compare(c.key, d.key), strings.Compare(c.file.Port, d.file.Port), cmp.Compare(c.file.Queue, d.file.Queue),
		strings.Compare(c.base, d.base), cmp.Compare(c.live(), d.live()))
}

// live is 1 for live records, which follow those of the file.
func (c *cursor) live() int {
	if c.in == nil {
		return 1
	}
	return 0
}

// end ends the file, or waits for more of it.
func (c *cursor) end() {
	c.idle = c.growing
	c.done = !c.growing
}

func (c *cursor) close() {
	if c.in != nil {
		c.in.close()
	}
	c.reader.free()
}

// deliver makes a packet the cursor's next one.
func (c *cursor) deliver(p pcapfile.Packet) {
	c.packet.Packet = p
	c.key, c.ready = p.Nano, true
}

// source returns the source of a port's queue. All files of the queue have the same.
func (r *Result) source(port string, queue int) *Source {
	name := fmt.Sprintf("%s:%d", port, queue)
	return r.sourceOf(name, name, fmt.Sprintf("queue %d", queue))
}

// sourceOf returns the source of a key.
func (r *Result) sourceOf(key, name, description string) *Source {
	s := r.sources[key]
	if s == nil {
		s = &Source{Number: -1, Name: name, Description: description}
		r.sources[key] = s
	}
	return s
}

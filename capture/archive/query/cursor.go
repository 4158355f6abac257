package query

import (
	"cmp"
	"fmt"

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
}

// cursor iterates over the matching packets of one file, or over live records.
//
// Its states are: pending or between two pieces of the file (key is a stamp before
// which it has no packet), ready (packet is the next one, key its stamp), done.
type cursor struct {
	result *Result
	reader reader
	file   archive.File // Path "": live records
	in     *input       // nil: live records
	order  int          // order of cursors with equal keys

	key         int64
	packet      Packet
	ready, done bool
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

	// free frees the memory.
	free()
}

func (c *cursor) compare(d *cursor) int {
	return cmp.Or(cmp.Compare(c.key, d.key), cmp.Compare(c.order, d.order))
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

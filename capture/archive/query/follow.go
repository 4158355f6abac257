package query

import (
	"container/heap"
	"errors"
	"math"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// A query that follows a capture reads the files on as they grow, and new files as they
// appear, each once and in the file's order. A packet is returned when every queue's
// files have been read up to a time followLag after its stamp. What is stored even later
// is returned out of order, and counted (Stats.Late). At the end of the window, and when
// the query is stopped, the rest comes from memory, as for any query with Live.

const (
	// followLag is how long after its stamp a packet is on disk, at the latest, while
	// disks are not slow: a storer writes blocks that are not full after a second.
	followLag = 3 * time.Second

	pollInterval  = 200 * time.Millisecond
	probeInterval = 30 * time.Second // of a capture that writes no file
)

// follow is the state of a query that follows a capture.
type follow struct {
	paths  []string
	known  map[string]bool // final paths of files that have a cursor, or do not matter
	idle   []*cursor
	polled time.Time // when the files were read up to their ends
	probed time.Time // when the captures' sockets were tried
	over   bool      // no further packet is waited for
}

// waits reports whether the query still waits for packets.
func (f *follow) waits() bool { return f != nil && !f.over }

// waiting returns the cursors that wait for their files to grow.
func (f *follow) waiting() []*cursor {
	if f == nil {
		return nil
	}
	return f.idle
}

// until returns the stamp before which all packets are read.
func (f *follow) until() int64 { return f.polled.Add(-followLag).UnixNano() }

// knows reports whether a file is known, and makes it known.
func (f *follow) knows(file archive.File) bool {
	if f == nil {
		return false
	}
	path := archive.FinalName(file.Path)
	known := f.known[path]
	f.known[path] = true
	return known
}

// wait waits for the next poll, and polls.
func (r *Result) wait() error {
	if r.q.BeforeRead != nil {
		if err := r.q.BeforeRead(); err != nil {
			return err
		}
	}
	select {
	case <-time.After(time.Until(r.follow.polled.Add(pollInterval))):
	case <-r.q.Stop:
	}
	return r.poll()
}

// poll reads on what has been written since the last poll. If the window is over, or
// the capture, or the query is stopped, it ends the waiting.
func (r *Result) poll() error {
	f := r.follow
	now := time.Now()
	passed := r.to != math.MaxInt64 && now.Add(-followLag).UnixNano() >= r.to
	ended := len(r.q.Live) > 0 && r.ended(now) // before the files are read for the last time
	select {
	case <-r.q.Stop:
		passed = true
	default:
	}
	if f.over = passed || ended; passed && !ended && r.readsMemory() {
		return r.last()
	}
	return r.readFiles(now)
}

// readFiles reads on in files that have grown, and adds new ones.
func (r *Result) readFiles(now time.Time) error {
	list, err := archive.List(r.follow.paths...)
	if err != nil {
		return err
	}
	r.readOn(nil)
	r.add(list, nil, nil)
	r.follow.polled = now
	return nil
}

// last reads what is stored, and the rest from memory.
func (r *Result) last() error {
	r.q.Live = slices.DeleteFunc(slices.Clone(r.q.Live), func(path string) bool {
		_, err := os.Stat(path)
		return missing(err) // a port was removed
	})
	list, live, limits, err := r.snapshot(r.follow.paths)
	if errors.Is(err, syscall.ECONNREFUSED) || missing(err) {
		return r.readFiles(time.Now())
	}
	if err != nil {
		return err
	}
	final := map[string]int64{}
	for path, n := range limits {
		final[archive.FinalName(path)] = n
	}
	r.readOn(final)
	r.add(list, live, limits)
	return nil
}

// readOn lets the cursors of files that grow go on, up to limits, if there are any.
func (r *Result) readOn(limits map[string]int64) {
	idle := r.follow.idle
	r.follow.idle = nil
	for _, c := range idle {
		r.extend(c, limits)
		switch {
		case c.done:
			c.close()
		case c.idle:
			r.follow.idle = append(r.follow.idle, c)
		default:
			heap.Push(&r.active, c)
		}
	}
	for _, c := range slices.Concat([]*cursor(r.active), r.pending) {
		if c.growing {
			r.extend(c, limits)
		}
	}
}

// extend lets a cursor read its file as far as it has grown, or up to its limit.
func (r *Result) extend(c *cursor, limits map[string]int64) {
	size, err := c.grown()
	if err != nil {
		r.fault(c, err)
		c.growing = false
		if c.idle {
			c.end()
		}
		return
	}
	if limit, ok := limits[archive.FinalName(c.file.Path)]; ok {
		size = min(size, limit)
	}
	c.growing = c.growing && !r.follow.over
	c.reader.extend(size)
}

// grown returns how much of a file that is growing is stored. A file that its writer
// has closed has its final name, and does not grow any more.
func (c *cursor) grown() (int64, error) {
	_, err := os.Stat(c.file.Path)
	closed := missing(err)
	f, err := c.in.read()
	if err != nil {
		return 0, err
	}
	c.in.refresh()
	if !closed {
		return archive.Stored(f, c.in.size), nil
	}
	c.growing, c.file.Part = false, false
	c.file.Path = archive.FinalName(c.file.Path)
	c.in.path = c.file.Path
	c.reader.closed()
	return c.in.size, nil
}

// ended reports whether the captures that serve the sockets have ended. A capture
// removes its sockets; those of a killed one are tried while no file is being written.
func (r *Result) ended(now time.Time) bool {
	f := r.follow
	try := now.Sub(f.probed) > probeInterval && !slices.ContainsFunc(slices.Concat(f.idle, []*cursor(r.active)), func(c *cursor) bool {
		return c.growing && c.in.f != nil && archive.BeingWritten(c.in.f, c.in.size)
	})
	if try {
		f.probed = now
	}
	return !slices.ContainsFunc(r.q.Live, func(path string) bool {
		if _, err := os.Stat(path); err != nil {
			return !missing(err)
		}
		return !try || served(path)
	})
}

// served reports whether a process listens at a socket of a stream.
func served(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return true
	}
	defer unix.Close(fd)
	return !errors.Is(unix.Connect(fd, &unix.SockaddrUnix{Name: path}), syscall.ECONNREFUSED)
}

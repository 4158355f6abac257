package query

import (
	"bytes"
	"errors"

	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/stream"
)

// seamTries is how often a seam that has moved is determined again.
const seamTries = 20

// location is where a packet of memory is on disk.
type location uint8

const (
	noFiles   location = iota // the queue has no files
	notListed                 // in none of its files
	unknown                   // possibly in a file that is too short yet
	onDisk
)

// locate searches the files for p. If it is on disk the listener may have been moved
// to the seam (skipped).
func (c *liveClient) locate(p *stream.Packet) (skipped bool, where location, err error) {
	record, at := appendRecord(nil, p), int64(p.Offset()-c.start)
	tried := map[string]int{}
	for i := len(c.files) - 1; i >= 0; i-- { // the newest of a port first
		f := c.files[i]
		if f.Packets || f.Queue != c.queue || f.First.IsZero() || f.First.UnixNano() > p.UnixNano() || tried[f.Port] == candidates {
			continue
		}
		tried[f.Port]++
		cur := c.result.cursorOf(f, -1).reader.(*rawReader)
		if err := cur.stat(); err != nil {
			if missing(err) {
				continue // deleted since it was listed
			}
			return false, where, err
		}
		defer cur.close()
		where = max(where, notListed)
		found, short, err := cur.contains(record, at)
		switch _, known := c.limits[f.Path]; {
		case err != nil:
			return false, where, err
		case found:
			skipped, err := c.skipToSeam(i, cur, at)
			return skipped, onDisk, err
		case short && f.Part:
			if where = unknown; !known {
				c.limits[f.Path] = cur.size // later bytes are in memory
			}
		}
	}
	return false, where, nil
}

func (c *liveClient) setFile(file int, limit int64) {
	f := c.files[file]
	c.file, c.limits[f.Path] = file, limit
	c.otherPort = c.result.q.Port != "" && f.Port != c.result.q.Port
}

// skipToSeam determines the seam, the end of the complete records on disk from the one
// at byte at on, and moves the listener there unless it is past it. The seam moves if
// the storer writes and the producer overwrites at the same time.
func (c *liveClient) skipToSeam(file int, cur *rawReader, at int64) (skipped bool, err error) {
	side := cur.growingSidecar()
	at = max(at, side.End())
	for range seamTries {
		if at, err = cur.endOfRecords(at); err != nil {
			return false, err
		}
		c.setFile(file, at)
		c.seam, c.contiguous = c.start+uint64(at), true
		if c.seam <= c.listener.Offset() {
			return false, nil
		}
		err = c.listener.SkipTo(c.seam)
		if !errors.Is(err, stream.ErrOverrun) {
			return true, err
		}
	}
	return false, errOverrun
}

// contains reports whether a file has a record at a byte, or is too short for it.
func (c *rawReader) contains(record []byte, at int64) (found, short bool, err error) {
	if c.size < at+int64(len(record)) {
		return false, true, nil
	}
	b, err := c.read(at, len(record))
	return bytes.Equal(b, record), false, err
}

// growingSidecar returns the valid part of the index of a file that is being written.
// It only shortens the search for the seam.
func (c *rawReader) growingSidecar() *index.Sidecar {
	side, n, _ := index.Load(c.file.Sidecar(), c.size)
	c.result.stats.IndexRead += n
	if side.Fits(c.in, c.file.Part, c.size, new(int64)) != nil {
		return &index.Sidecar{}
	}
	return side
}

// endOfRecords returns the end of the file's complete records, of which one begins or
// ends at byte at.
func (c *rawReader) endOfRecords(at int64) (int64, error) {
	for {
		if err := c.stat(); err != nil {
			return 0, err
		}
		b, err := c.read(at, maxPiece)
		if err != nil {
			return 0, err
		}
		n := 0
		for {
			size, err := rawfile.Measure(b[n:])
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

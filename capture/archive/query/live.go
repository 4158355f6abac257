package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/stream"
)

// The records that a running capture has in memory follow those in its files without
// gap and overlap:
//
//	                     segment start             seam               head
//	stream (memory)   ···│███ overwritten ███│░░░░░░░│▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│
//	file              NAME.raw.part  │ byte 0 ...    │ complete records end here
//
// A segment of the stream becomes one file, byte for byte, so the place of a byte in
// the stream is the start of its segment plus its place in the file. The seam is the
// end of the last complete record in the file. The query copies from memory what
// follows the seam, and reads the file up to it even if the file grows.
//
// A record that both have at the same place, with equal stamp and bytes, identifies
// the file of a segment. From there on no record is missing: the file has those before
// the seam, memory those after it, because a storer applies backpressure, so that
// records that are not written are not overwritten. If the disk is slow, the oldest
// record in memory may not be on disk yet, and the one before it in neither place
// completely; then the query waits until it is on disk. The query itself is a lossy
// listener. If the producer overruns it, it starts again.

// liveRecords are records of a queue's stream that are not on disk.
type liveRecords struct {
	port    string // label
	queue   int
	after   string // name of the file before them
	first   int64  // stamp of the first record in ns
	records []byte // RAW records that match
}

// liveTimeout limits the wait for a storer, and the time that a stream with
// inconsistent data can take. Tests raise it, because their machine may be too busy.
var liveTimeout = 30 * time.Second

// candidates is how many files of a port are searched for a segment's records.
const candidates = 4

var errOverrun = errors.New("the capture overwrites its memory faster than it can be read. Try again, or query the files only")

// snapshot lists the files, and copies from each stream the records that they do not
// have. limits are the bytes to read of files that may grow, by path.
func (r *Result) snapshot(paths []string) (files []archive.File, live []liveRecords, limits map[string]int64, err error) {
	for until := time.Now().Add(liveTimeout); ; time.Sleep(5 * time.Millisecond) {
		last := time.Now().After(until)
		files, live, limits, err = r.trySnapshot(paths, last)
		if last || !errors.Is(err, errOverrun) {
			break
		}
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("live data: %w", err)
	}
	return files, live, limits, nil
}

func (r *Result) trySnapshot(paths []string, last bool) (files []archive.File, live []liveRecords, limits map[string]int64, err error) {
	var listeners []*stream.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, socket := range r.q.Live {
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
		c := liveClient{result: r, listener: l, files: files, limits: limits, file: -1, last: last}
		_, c.queue = l.Source()
		if r.q.Queue != capture.AllQueues && c.queue != r.q.Queue {
			continue
		}
		if c.storedAsPackets() {
			r.q.Logger.Warn(r.q.Live[i] + ": its queue is stored packet by packet: only its files are read, which end up to a second before now")
			continue
		}
		if err := c.run(); err != nil {
			return nil, nil, nil, err
		}
		if c.file < 0 && len(c.live) > 0 && r.q.Port != "" {
			r.q.Logger.Warn(r.q.Live[i] + ": left out: no file of its port is on disk yet, so its port is not known")
			continue
		}
		if !c.otherPort {
			live = append(live, c.live...)
			r.addStream(r.source(c.port(), c.queue), l.Uncertainty())
		}
	}
	return files, live, limits, nil
}

// liveClient copies one queue's records from memory.
type liveClient struct {
	result   *Result
	listener *stream.Listener
	queue    int
	files    []archive.File
	limits   map[string]int64 // by path
	last     bool             // no further attempt follows

	started    bool
	start      uint64 // place of the current segment in the stream
	seam       uint64 // place in the stream up to which it is on disk
	file       int    // last file that was identified; -1: none yet
	otherPort  bool   // the files are of a port that was not asked for
	contiguous bool   // the next record follows those on disk or those copied: no gap is allowed
	overrun    uint64 // frames overrun before that
	live       []liveRecords
}

// run copies the records that were published before its call.
func (c *liveClient) run() error {
	ctx, cancel := context.WithTimeout(context.Background(), liveTimeout)
	defer cancel()
	l := c.listener
	c.contiguous = l.Offset() == 0 // no record was overwritten
	target := l.Stats().Unread
	batch := make([]stream.Packet, 64)
	for passed := uint64(0); passed < target && !c.otherPort; {
		n, err := l.ReadBatch(ctx, batch)
		if errors.Is(err, io.EOF) || errors.Is(err, stream.ErrAbandoned) {
			return nil
		}
		if err != nil {
			return err
		}
		overrun := l.Stats().Overrun
		if c.contiguous && overrun > c.overrun {
			return errOverrun
		}
		c.overrun = overrun
		unreleased, err := c.copyBatch(ctx, batch[:n])
		if err != nil {
			return err
		}
		st := l.Stats()
		passed = st.Read + st.Overrun + uint64(unreleased)
	}
	return nil
}

// storedAsPackets reports whether the queue's newest files are packet files. Their
// bytes are not those of memory, so the seam is not known.
func (c *liveClient) storedAsPackets() bool {
	packets := false
	for _, f := range c.files {
		if f.Queue == c.queue && f.Port == c.port() && f.Part {
			packets = f.Packets
		}
	}
	return packets
}

// copyBatch copies the packets of a batch that are not on disk, and returns how many
// the listener has not counted as read yet.
func (c *liveClient) copyBatch(ctx context.Context, batch []stream.Packet) (unreleased int, err error) {
	for i := range batch {
		p := &batch[i]
		start, ok := c.listener.SegmentStart(p.Offset())
		if !ok {
			return 0, errOverrun
		}
		if start != c.start || !c.started {
			c.started, c.start, c.seam = true, start, 0
			if skipped, err := c.beginSegment(ctx, p); err != nil || skipped {
				return 0, err
			}
		}
		if p.Offset() >= c.seam {
			c.copyPacket(p)
		}
	}
	return len(batch), nil
}

// copyPacket copies a packet that is not on disk, if it matches.
func (c *liveClient) copyPacket(p *stream.Packet) {
	c.contiguous = true
	r := c.result
	if !r.matches(p.UnixNano(), p.Data, int(p.Len)) {
		r.stats.Frames++
		return
	}
	after := "\xff" // after all files
	if c.file >= 0 {
		after = orderOf(c.files[c.file])
	}
	if len(c.live) == 0 || c.live[len(c.live)-1].after != after {
		c.live = append(c.live, liveRecords{port: c.port(), queue: c.queue, after: after, first: p.UnixNano()})
	}
	m := &c.live[len(c.live)-1]
	m.records = appendRecord(m.records, p)
}

// port returns the label of the stream's port in the names of files.
func (c *liveClient) port() string {
	if c.file >= 0 {
		return c.files[c.file].Port
	}
	name, _ := c.listener.Source()
	return archive.Label(name)
}

func appendRecord(b []byte, p *stream.Packet) []byte {
	var head [rawfile.HeaderLen]byte
	rawfile.Header{Sec: p.Sec, Nsec: p.Nsec, Caplen: uint16(len(p.Data)), Len: p.Len}.Put(head[:])
	return append(append(b, head[:]...), p.Data...)
}

// beginSegment identifies the file of the segment that starts with p, and the seam if
// p is on disk. skipped: the listener was moved to the seam, past the current batch.
func (c *liveClient) beginSegment(ctx context.Context, p *stream.Packet) (skipped bool, err error) {
	for {
		skipped, where, err := c.locate(p)
		if err != nil || where == onDisk || where == noFiles || c.contiguous {
			return skipped, err
		}
		switch {
		case where == notListed && !c.last:
			return false, errOverrun // list the files again
		case where == notListed:
			c.result.q.Logger.Warn(fmt.Sprintf("queue %d: no file has its records: only its memory is read, from %v on", c.queue, p.Time().UTC()))
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, errors.New("the storer does not make progress. Try again, or query the files only")
		case <-time.After(time.Millisecond):
		}
	}
}

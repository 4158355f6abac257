package pcapstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/units"
)

// writer writes chunks to files, in a goroutine of its own.
type writer struct {
	s      *Storer
	file   *file // nil: none
	broken error // the first file that could not be closed, though no packet is lost
	buf    []byte

	uncertainty func() time.Duration // of the stamps so far

	// At the end of the last file, or the start of the capture.
	since   time.Time
	counted Counters
	lost    store.Amount // not stored, when a file was begun last
}

func newWriter(s *Storer) *writer {
	w := &writer{s: s, since: time.Now()}
	if s.cfg.Counters != nil {
		w.counted = s.cfg.Counters()
	}
	return w
}

// run writes until there are no more chunks, and closes the last file.
func (w *writer) run() {
	tick := time.NewTicker(w.s.cfg.Sync.Interval())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.check()
		case c, more := <-w.s.pipe.toWrite:
			if !more {
				w.endFile()
				return
			}
			out := w.s.pipe.await(c)
			if c.Packets != 0 {
				w.store(c, out)
			}
			if c.endsFile {
				w.endFile()
			}
			w.s.pipe.put(c)
		}
	}
}

// check syncs the file, and fails it if it was deleted. It is called at an interval.
func (w *writer) check() {
	f := w.file
	switch {
	case f == nil:
	case f.Deleted():
		w.failFile(f, f.Error("write", store.ErrDeleted))
	case w.s.cfg.Sync > 0 && f.synced != f.content.Amount:
		if err := f.Sync(); err != nil {
			w.file = nil
			w.loseUnsynced(f, err)
			return
		}
		f.synced = f.content.Amount
	}
}

// store writes a chunk's packets; out is what is written. It tries the next folder
// for what one does not take.
func (w *writer) store(c *chunk, out []byte) {
	rest, raw := c.content, c.raw
	for range w.s.dirs.Writers() {
		if w.s.pipe.zip == nil {
			out = raw
		}
		if f := w.file; f != nil && f.content.Packets != 0 && f.size+int64(len(out))+w.endSize(f) > w.s.cfg.Size {
			w.endFile()
		}
		if w.file == nil && !w.create(rest.first) {
			break
		}
		f := w.file
		n, err := f.write(out)
		if err == nil {
			w.written(f, &rest, len(out), len(raw))
			return
		}
		if w.s.pipe.zip == nil {
			raw = w.keepWhole(f, &rest, raw, n)
		}
		w.failFile(f, err)
	}
	w.s.failing.Store(true)
	w.s.losses.Add(rest.Amount, w.s.dirs.LastError())
}

// keepWhole keeps in the file the packets that are whole in the first n bytes of
// raw. It returns the bytes of the others, which rest describes then.
func (w *writer) keepWhole(f *file, rest *content, raw []byte, n int) []byte {
	whole := w.s.cfg.Format.Walk(raw[:n])
	kept := content{Amount: store.Amount{Packets: whole.Packets, Bytes: whole.Kept}, first: whole.First, last: whole.Last}
	if kept.Packets == 0 {
		return raw
	}
	w.written(f, &kept, int(whole.Bytes), int(whole.Bytes))
	raw = raw[whole.Bytes:]
	rest.Amount = rest.Amount.Sub(kept.Amount)
	rest.first = w.s.cfg.Format.Walk(raw).First
	return raw
}

// written accounts for packets written to a file, in size bytes, which were raw
// bytes before the compression.
func (w *writer) written(f *file, c *content, size, raw int) {
	if w.s.pipe.zip != nil {
		f.frames = append(f.frames, pcapfile.Frame{Offset: f.size, Compressed: int64(size), Size: int64(raw), First: c.first, Packets: uint32(c.Packets)})
	}
	f.size += int64(size)
	f.content.add(c)
	w.s.stat.addWritten(c.Amount)
	w.s.failing.Store(false)
	w.s.dirs.Recovered(f.File)
}

// endSize is how many bytes the end of a file takes, with one more chunk in it.
func (w *writer) endSize(f *file) int64 {
	const statistics = 160
	if w.s.pipe.zip == nil {
		return statistics
	}
	return statistics + pcapfile.TablesSize(len(f.frames)+2)
}

// create begins the next file, with its header. It returns false if no folder
// takes one.
func (w *writer) create(first int64) bool {
	lost, _ := w.s.losses.Total()
	enc := w.s.enc
	if lost != w.lost {
		enc.Comment = units.Plural(lost.Packets-w.lost.Packets, "packet") + " before this file could not be stored"
	}
	var f *file
	created := w.s.dirs.Create(time.Unix(0, first), func(new *store.File) error {
		f = &file{File: new}
		return w.append(f, enc.Header(nil))
	})
	if created == nil {
		return false
	}
	w.file, w.lost = f, lost
	return true
}

// append appends to a file what belongs to no packet, in a frame of its own.
func (w *writer) append(f *file, raw []byte) error {
	if w.s.pipe.zip == nil || len(raw) == 0 {
		return f.append(raw)
	}
	at := f.size
	w.buf = w.s.pipe.zip.Frame(w.buf[:0], raw)
	if err := f.append(w.buf); err != nil {
		return err
	}
	f.frames = append(f.frames, pcapfile.Frame{Offset: at, Compressed: int64(len(w.buf)), Size: int64(len(raw))})
	return nil
}

// endFile closes the current file, if there is one.
func (w *writer) endFile() {
	f := w.file
	if f == nil {
		return
	}
	w.file = nil
	if f.Deleted() {
		w.loseFile(f, f.Error("write", store.ErrDeleted))
		return
	}
	w.finish(f)
}

// finish writes the end of a file and gives it its final name. If the end cannot be
// written it is left out: the file can be read without it.
func (w *writer) finish(f *file) {
	whole, frames := f.size, len(f.frames)
	err := w.append(f, w.s.enc.Statistics(nil, w.statistics(f)))
	if err == nil && w.s.pipe.zip != nil {
		err = f.append(pcapfile.AppendTables(nil, f.frames))
	}
	if err != nil {
		w.s.dirs.Fail(f.Dir, err)
		f.size, f.frames = whole, f.frames[:frames]
	}
	if err := f.Truncate(f.size); err != nil { // this releases the reserved space, too
		w.abandon(f, f.Error("cut", err))
		return
	}
	if w.s.cfg.Sync != store.SyncNever {
		if err := f.Sync(); err != nil {
			w.loseUnsynced(f, err)
			return
		}
	}
	renamed, err := f.Publish(w.s.cfg.Sync)
	switch {
	case !renamed && f.Deleted():
		w.loseFile(f, f.Error("write", store.ErrDeleted))
		return
	case !renamed:
		w.abandon(f, err)
		return
	case err != nil:
		w.fail(f, err)
	}
	f.Close() // with the final name: this releases the lock
	if w.s.cfg.Closed != nil {
		w.s.cfg.Closed(f.Path())
	}
}

// statistics returns a file's statistics, those of the port since the last file.
func (w *writer) statistics(f *file) *pcapfile.Statistics {
	n := f.content.Packets
	stats := &pcapfile.Statistics{Start: w.since, End: time.Now(), Accepted: n, Delivered: n, OSDropped: f.content.overrun, Uncertainty: w.uncertainty()}
	counted := w.counted
	if w.s.cfg.Counters != nil {
		counted = w.s.cfg.Counters()
		stats.Port, stats.Received, stats.Dropped = true, counted.Received-w.counted.Received, counted.Dropped-w.counted.Dropped
	}
	w.since, w.counted = stats.End, counted
	return stats
}

// failFile ends the current file, after a write error, after its last whole packet.
func (w *writer) failFile(f *file, err error) {
	w.file = nil
	w.s.dirs.Fail(f.Dir, err)
	switch {
	case errors.Is(err, store.ErrDeleted) || f.Deleted():
		w.loseFile(f, err)
	case f.content.Packets == 0:
		f.Remove()
	default:
		// The cut comes first: it may free the space for the file's end.
		if err := f.Truncate(f.size); err != nil {
			w.abandon(f, f.Error("cut", err))
			return
		}
		w.finish(f)
	}
}

// loseFile counts all of a file that was deleted.
func (w *writer) loseFile(f *file, err error) {
	w.s.dirs.Fail(f.Dir, err)
	w.s.loseWritten(f.content.Amount, err)
	f.Remove()
}

// loseUnsynced leaves a file of which the disk may not have what was written since
// the last sync. A second sync would report no error.
func (w *writer) loseUnsynced(f *file, err error) {
	w.s.loseWritten(f.content.Amount.Sub(f.synced), err)
	w.abandon(f, f.Error("sync", err))
}

// abandon leaves a file as it is, under its temporary name, for Recover.
func (w *writer) abandon(f *file, err error) {
	w.fail(f, err)
	f.Close()
}

// fail notes an error by which no packet is lost.
func (w *writer) fail(f *file, err error) {
	if w.broken == nil {
		w.broken = err
	}
	w.s.dirs.Fail(f.Dir, err)
}

// lossError returns the error about what was not stored.
func (w *writer) lossError() error {
	if n, first := w.s.losses.Total(); n.Packets > 0 {
		return fmt.Errorf("%s (%d bytes) not stored: %w", units.Plural(n.Packets, "packet"), n.Bytes, first)
	}
	return w.broken
}

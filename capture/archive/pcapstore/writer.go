package pcapstore

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
)

// ahead is how much room in bytes a folder must have that could not be written
// before: no file for each block that somebody frees on a full disk.
const ahead = 64 << 20

// writer writes chunks to files, in a goroutine of its own.
type writer struct {
	s      *Storer
	file   *file // nil: none
	begun  int   // files
	turn   int   // lane that is next
	broken error // the first file that could not be closed, though nothing is lost
	buf    []byte

	// When the last file ended, or the capture began.
	since   time.Time
	counted Counters
	lost    Count // not stored, when a file was begun last
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
	every := time.Second
	if w.s.cfg.Sync > 0 {
		every = time.Duration(w.s.cfg.Sync)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look()
		case c, more := <-w.s.jobs:
			if !more {
				w.end()
				return
			}
			if w.s.zip != nil && len(c.raw) != 0 {
				<-c.done
			}
			if c.Packets != 0 {
				w.store(c)
			}
			if c.ends {
				w.end()
			}
			w.s.recycle(c)
		}
	}
}

// look does what is done from time to time.
func (w *writer) look() {
	f := w.file
	switch {
	case f == nil:
	case f.deleted():
		w.fails(f, f.error("write", errDeleted))
	case w.s.cfg.Sync > 0 && f.synced != f.Count:
		if err := f.h.Sync(); err != nil {
			w.file = nil
			w.unsynced(f, err)
			return
		}
		f.synced = f.Count
	}
}

// store writes a chunk's packets, in as many folders as it takes.
func (w *writer) store(c *chunk) {
	rest, left := c.part, c.raw
	for range w.s.lanes {
		b := left
		if w.s.zip != nil {
			b = c.out
		}
		if f := w.file; f != nil && f.Packets != 0 && f.size+int64(len(b))+w.trailer(f) > w.s.cfg.Size {
			w.end()
		}
		if w.file == nil && !w.create(rest.first) {
			break
		}
		f := w.file
		n, err := f.write(b)
		if err == nil {
			w.written(f, &rest, len(b), len(left))
			return
		}
		if w.s.zip == nil {
			// What is whole stays in the file.
			whole := w.s.cfg.Format.Walk(left[:n])
			kept := part{Count: Count{whole.Packets, whole.Kept}, first: whole.First, last: whole.Last}
			if kept.Packets != 0 {
				w.written(f, &kept, int(whole.Bytes), int(whole.Bytes))
				left = left[whole.Bytes:]
				rest.Packets -= kept.Packets
				rest.Bytes -= kept.Bytes
				rest.first = w.s.cfg.Format.Walk(left).First
			}
		}
		w.fails(f, err)
	}
	w.s.failing.Store(true)
	w.s.stat.failed(rest.Count, w.excuse(), false)
}

// written notes what a file now holds: size bytes, raw before they were compressed.
func (w *writer) written(f *file, p *part, size, raw int) {
	if w.s.zip != nil {
		f.frames = append(f.frames, pcapfile.Frame{Offset: f.size, Compressed: int64(size), Size: int64(raw), First: p.first, Packets: uint32(p.Packets)})
	}
	f.size += int64(size)
	f.join(p)
	w.s.stat.wrote(p.Count)
	w.s.failing.Store(false)
	w.works(f.lane)
}

// trailer is how many bytes a file needs for its end, if one more chunk is put
// into it.
func (w *writer) trailer(f *file) int64 {
	const statistics = 160
	if w.s.zip == nil {
		return statistics
	}
	return statistics + pcapfile.TablesSize(len(f.frames)+2)
}

// create begins the next file, in the next folder that takes one.
func (w *writer) create(first int64) bool {
	now := time.Now()
	for range w.s.lanes {
		l := w.s.lanes[w.turn]
		w.turn = (w.turn + 1) % len(w.s.lanes)
		if !l.ready(now) {
			continue
		}
		f, err := w.begin(l, first)
		if err == nil {
			w.file = f
			l.files.Add(1)
			return true
		}
		w.trouble(l, err)
	}
	return false
}

// begin makes a file, with its header.
func (w *writer) begin(l *lane, first int64) (_ *file, err error) {
	folder, err := l.dir.Folder()
	if err != nil {
		return nil, err
	}
	f := &file{lane: l, folder: folder, begun: time.Now()}
	err = unix.EEXIST
	for range 100 { // names that are taken are passed over
		f.name = archive.FileName(w.s.cfg.Port, w.s.cfg.Queue, time.Unix(0, first).UTC(), w.begun) + w.s.cfg.suffix()
		w.begun++
		if archive.Exists(folder, f.name) {
			continue
		}
		if f.h, err = w.s.open(folder, f.name+archive.Part); err != unix.EEXIST {
			break
		}
	}
	if err != nil {
		_ = unix.Close(folder)
		return nil, f.error("create", err)
	}
	if l.failing.Load() != nil {
		if err := f.h.Reserve(min(ahead, w.s.cfg.Size)); err != nil && err != unix.EOPNOTSUPP {
			f.remove()
			return nil, f.error("reserve room for", err)
		}
	}
	enc := w.s.enc
	if lost, _ := w.s.stat.lost(); lost != w.lost {
		enc.Comment = fmt.Sprintf("%d packets before this file could not be stored", lost.Packets-w.lost.Packets)
		w.lost = lost
	}
	if err := w.append(f, enc.Header(nil)); err != nil {
		f.remove()
		return nil, err
	}
	return f, nil
}

// append appends to a file what belongs to no packet, in a frame of its own.
func (w *writer) append(f *file, raw []byte) error {
	if w.s.zip == nil || len(raw) == 0 {
		return f.put(raw)
	}
	at := f.size
	w.buf = w.s.zip.Frame(w.buf[:0], raw)
	if err := f.put(w.buf); err != nil {
		return err
	}
	f.frames = append(f.frames, pcapfile.Frame{Offset: at, Compressed: int64(len(w.buf)), Size: int64(len(raw))})
	return nil
}

// end closes the current file, if there is one, in order.
func (w *writer) end() {
	f := w.file
	if f == nil {
		return
	}
	w.file = nil
	if f.deleted() {
		w.forget(f, errDeleted)
		return
	}
	w.finish(f)
}

// finish gives a file its end and its final name. The end is left out where it
// cannot be written: the file can be read all the same.
func (w *writer) finish(f *file) {
	whole, frames := f.size, len(f.frames)
	stats := pcapfile.Statistics{Start: w.since, End: time.Now(), Accepted: f.Packets, Delivered: f.Packets, OSDropped: f.overtaken}
	counted := w.counted
	if w.s.cfg.Counters != nil {
		counted = w.s.cfg.Counters()
		stats.Port, stats.Received, stats.Dropped = true, counted.Received-w.counted.Received, counted.Dropped-w.counted.Dropped
	}
	w.since, w.counted = stats.End, counted
	err := w.append(f, w.s.enc.Statistics(nil, &stats))
	if err == nil && w.s.zip != nil {
		err = f.put(pcapfile.AppendTables(nil, f.frames))
	}
	if err != nil {
		w.trouble(f.lane, err)
		f.size, f.frames = whole, f.frames[:frames]
	}
	if err := f.h.Truncate(f.size); err != nil { // what is reserved is given back, too
		w.abandon(f, f.error("cut", err))
		return
	}
	if w.s.cfg.Sync != store.SyncNever {
		if err := f.h.Sync(); err != nil {
			w.unsynced(f, err)
			return
		}
	}
	if err := f.rename(); err != nil {
		if f.deleted() {
			w.forget(f, errDeleted)
			return
		}
		w.abandon(f, f.error("rename", err))
		return
	}
	if w.s.cfg.Sync != store.SyncNever {
		if err := unix.Fsync(f.folder); err != nil && err != unix.EINVAL { // a file system that cannot
			if err = f.error("sync the folder of", err); w.broken == nil {
				w.broken = err
			}
			w.trouble(f.lane, err)
		}
	}
	f.close() // after the name is final: the lock goes with it
	if w.s.cfg.Closed != nil {
		w.s.cfg.Closed(f.path())
	}
}

// fails ends the current file, which cannot be written on, after its last whole
// packet.
func (w *writer) fails(f *file, err error) {
	w.file = nil
	w.trouble(f.lane, err)
	switch {
	case errors.Is(err, errDeleted) || f.deleted():
		w.forget(f, err)
	case f.Packets == 0:
		f.lane.files.Add(-1)
		f.remove()
	default:
		// First of all what is not whole goes: it may be room for the file's end.
		if err := f.h.Truncate(f.size); err != nil {
			w.abandon(f, f.error("cut", err))
			return
		}
		w.finish(f)
	}
}

// forget counts all of a file that is not there any more.
func (w *writer) forget(f *file, err error) {
	w.trouble(f.lane, f.error("write", err))
	w.s.stat.failed(f.Count, err, true)
	f.lane.files.Add(-1)
	f.close()
}

// unsynced leaves a file of which the disk may not have kept what was written
// since the last sync; asked again, the kernel would say nothing.
func (w *writer) unsynced(f *file, err error) {
	w.s.stat.failed(Count{f.Packets - f.synced.Packets, f.Bytes - f.synced.Bytes}, err, true)
	w.abandon(f, f.error("sync", err))
}

// abandon leaves a file as it is, under its temporary name: Recover gets what is
// whole out of it.
func (w *writer) abandon(f *file, err error) {
	if w.broken == nil {
		w.broken = err
	}
	w.trouble(f.lane, err)
	f.close()
}

// verdict is the error about what was not stored.
func (w *writer) verdict() error {
	if n, first := w.s.stat.lost(); n.Packets > 0 {
		return fmt.Errorf("%d packets (%d bytes) were not stored: %w", n.Packets, n.Bytes, first)
	}
	return w.broken
}

func (w *writer) warn(format string, args ...any) {
	if w.s.cfg.Logger != nil {
		w.s.cfg.Logger.Warn(fmt.Sprintf(format, args...))
	}
}

package store

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// DirWriter is one folder of a storer. Any goroutine may use its methods.
type DirWriter struct {
	dir     *Dir
	files   atomic.Int64
	wrote   atomic.Uint64
	waiting atomic.Int64
	latency latency
	fault   atomic.Pointer[fault] // nil: not degraded

	// Of the storer's goroutine.
	tried time.Time // when a file was last begun
	retry time.Time // while degraded: no file before
}

// fault is why a folder is degraded: from the first error there until a write to a
// file that was begun afterwards succeeds.
type fault struct {
	err   error
	since time.Time
	lost  Amount // by the storer, until then
}

// Dir returns the folder.
func (w *DirWriter) Dir() *Dir { return w.dir }

// Direct reports whether the folder supports O_DIRECT.
func (w *DirWriter) Direct() bool { return w.dir.direct }

// AddWaiting counts blocks that wait to be written, or no longer do (n < 0).
func (w *DirWriter) AddWaiting(n int) { w.waiting.Add(int64(n)) }

// AddWrote counts bytes that the disk took.
func (w *DirWriter) AddWrote(n int) { w.wrote.Add(uint64(n)) }

func (w *DirWriter) ready(now time.Time) bool { return w.fault.Load() == nil || !now.Before(w.retry) }

// create makes a new file under its temporary name.
func (w *DirWriter) create(stem string, cfg DirsConfig) (*File, error) {
	folder, err := w.dir.openFolder()
	if err != nil {
		return nil, err
	}
	f := &File{Dir: w, stem: stem, suffix: cfg.Suffix, folder: folder, direct: w.dir.direct && !cfg.Buffered}
	f.Handle, err = w.dir.open(folder, f.partName(), f.direct)
	if err != nil {
		unix.Close(folder)
		return nil, f.Error("create", err)
	}
	w.files.Add(1)
	f.Locked = f.Lock() == nil // OpenFile has locked it, unless the file system has no locks
	for _, suffix := range append([]string{cfg.Suffix}, cfg.Beside...) {
		if archive.Exists(folder, stem+suffix) {
			f.Remove()
			return nil, f.Error("create", unix.EEXIST)
		}
	}
	return f, nil
}

func (w *DirWriter) stats() DirStats {
	s := DirStats{
		Path: w.dir.path, Direct: w.dir.direct, Files: int(w.files.Load()), Wrote: w.wrote.Load(),
		Waiting: int(w.waiting.Load()), Latency: w.latency.read(),
	}
	if f := w.fault.Load(); f != nil {
		s.Failing = f.err.Error()
	}
	return s
}

package store

import (
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

const (
	// sector is the alignment in bytes of what O_DIRECT writes: a multiple of
	// the logical block of every disk in use.
	sector = 4096

	// ahead is how much room in bytes is reserved on disk at a time. It keeps
	// files in one piece without taking the room of a whole segment from other
	// queues' files.
	ahead = 64 << 20
)

// file is one RAW file being written. Three kinds of goroutines have part in it:
// the Storer's own, those that write blocks (write), and its keeper.
type file struct {
	lane   *lane
	name   string // without folder and suffix
	folder int    // the folder, open: it may be renamed while the file is written
	h      handle

	// The Storer's goroutine.
	reserved int64 // bytes of disk space reserved; -1: could not be
	scarce   bool  // the disk has no room for what was to be reserved
	begun    time.Time
	read     int64 // bytes read from the stream
	flying   int   // blocks on their way to the disk
	pending  int   // blocks on their way to the index
	over     bool  // all of it has been written
	failure  error // the first write that failed
	closed   bool  // its keeper has been told how it ends

	stored atomic.Int64 // bytes written, from the file's start
	failed atomic.Bool  // what is still on its way need not be written
	end    chan ending  // to its keeper
	side   *sidecar     // nil: none
	locked bool         // its keeper's, once that runs
}

// ending says how a file ends.
type ending struct {
	size  int64 // bytes of the file if all is well, else those written
	cause error // why it ends early; nil: in order
}

// create begins a new file under its temporary name. The name of a file that is
// there is never taken.
func (l *lane) create(name string) (*file, error) {
	folder, err := l.dir.folder()
	if err != nil {
		return nil, err
	}
	f := &file{lane: l, name: name, folder: folder, end: make(chan ending, 1)}
	f.h, err = l.dir.open(folder, name+archive.RawPart, l.dir.direct)
	if err != nil {
		unix.Close(folder)
		return nil, f.error("create", err)
	}
	f.locked = f.h.Lock() == nil // it is already, or its keeper tries again
	if archive.Exists(folder, name+archive.Raw) || archive.Exists(folder, name+archive.Index) {
		f.remove()
		return nil, f.error("create", unix.EEXIST)
	}
	return f, nil
}

// remove takes back a file that nothing was written to.
func (f *file) remove() {
	_ = unix.Unlinkat(f.folder, f.name+archive.RawPart, 0)
	f.close()
}

func (f *file) close() error {
	unix.Close(f.folder)
	return f.h.Close()
}

// error is one about the file.
func (f *file) error(verb string, err error) error {
	return fmt.Errorf("%s %s: %w", verb, filepath.Join(f.lane.dir.path, f.name+archive.RawPart), err)
}

// reserve sees to it that disk space is reserved up to byte end. Where it cannot
// be, the file is written without; a full disk shows when a write fails.
func (f *file) reserve(end, segment int64, grow bool) {
	if f.reserved < 0 || end <= f.reserved {
		return
	}
	to := max(min(f.reserved+ahead, segment), end)
	if err := f.h.Reserve(f.reserved, to-f.reserved, grow); err != nil {
		f.reserved, f.scarce = -1, err != unix.EOPNOTSUPP
		return
	}
	f.reserved = to
}

// errDeleted is what has become of a file that somebody removed while it was
// being written.
var errDeleted = fmt.Errorf("somebody deleted it: %w", unix.ENOENT)

// write writes b at byte off, and says how much of it could be written.
func (f *file) write(b []byte, off int64) (written int, err error) {
	for written < len(b) {
		n, err := f.h.WriteAt(b[written:], off+int64(written))
		written += n
		switch {
		case err == nil && n == 0:
			err = io.ErrShortWrite
		case err == nil && f.lane.dir.direct && written < len(b) && written%sector != 0:
			// The disk filled up within a sector; the rest cannot be tried with
			// O_DIRECT, which takes whole sectors only.
			err = unix.ENOSPC
		}
		if err != nil {
			return written, f.error("write", err)
		}
	}
	// The kernel goes on writing to a file that has no name any more.
	if n, err := f.h.Links(); err == nil && n == 0 {
		return written, f.error("write", errDeleted)
	}
	return written, nil
}

// rename gives the file its final name, never that of another file.
func (f *file) rename() error {
	return archive.Rename(f.folder, f.name+archive.RawPart, f.name+archive.Raw)
}

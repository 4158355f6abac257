package pcapstore

import (
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

// handle is an open file as the system has it. Errors are errnos.
type handle interface {
	Write(b []byte, off int64) (int, error) // one write, which may be short
	Reserve(n int64) error                  // disk space, without changing the file's length
	Truncate(size int64) error
	Sync() error
	Close() error
}

// fd is a handle that is a file descriptor.
type fd int

// opener makes a new file.
type opener func(folder int, name string) (handle, error)

func openFile(folder int, name string) (handle, error) {
	for {
		f, err := unix.Openat(folder, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
		if err == unix.EINTR {
			continue
		}
		if err == nil {
			_ = unix.Flock(f, unix.LOCK_EX|unix.LOCK_NB) // nobody else can have it; some file systems have no locks
		}
		return fd(f), err
	}
}

func (f fd) Write(b []byte, off int64) (int, error) {
	n, err := unix.Pwrite(int(f), b, off)
	return max(n, 0), err
}

func (f fd) Reserve(n int64) error     { return unix.Fallocate(int(f), unix.FALLOC_FL_KEEP_SIZE, 0, n) }
func (f fd) Truncate(size int64) error { return unix.Ftruncate(int(f), size) }
func (f fd) Sync() error               { return unix.Fdatasync(int(f)) }
func (f fd) Close() error              { return unix.Close(int(f)) }

// file is one being written. It is the writer's.
type file struct {
	lane   *lane
	name   string // without folder and .part
	folder int    // the folder, open: it may be renamed while the file is written
	h      handle
	size   int64 // bytes written that are whole packets
	part         // what they hold
	begun  time.Time
	synced Count            // of these, what the disk is known to keep
	frames []pcapfile.Frame // compressed only
}

func (f *file) path() string { return filepath.Join(f.lane.dir.Path(), f.name) }

func (f *file) error(verb string, err error) error {
	return fmt.Errorf("%s %s%s: %w", verb, f.path(), archive.Part, err)
}

var errDeleted = fmt.Errorf("somebody deleted it: %w", unix.ENOENT)

// write appends b, and says how much of it could be written. What was written
// before is forgotten if it could not: whoever calls it cuts the file.
func (f *file) write(b []byte) (written int, err error) {
	began := time.Now()
	defer func() {
		f.lane.clock.Add(time.Since(began))
		f.lane.wrote.Add(uint64(written))
	}()
	for written < len(b) {
		n, err := f.h.Write(b[written:], f.size+int64(written))
		written += n
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = unix.EIO
		}
		if err != nil {
			return written, f.error("write", err)
		}
	}
	return written, nil
}

// deleted tells whether somebody removed the file: the kernel goes on writing to
// one that has no name any more.
func (f *file) deleted() bool {
	var st unix.Stat_t
	return unix.Fstatat(f.folder, f.name+archive.Part, &st, unix.AT_SYMLINK_NOFOLLOW) == unix.ENOENT
}

// put appends what belongs to no packet.
func (f *file) put(b []byte) error {
	n, err := f.write(b)
	if err == nil {
		f.size += int64(n)
	}
	return err
}

// rename gives the file its final name, never that of another file.
func (f *file) rename() error { return archive.Rename(f.folder, f.name+archive.Part, f.name) }

// remove takes the file back.
func (f *file) remove() {
	_ = unix.Unlinkat(f.folder, f.name+archive.Part, 0)
	f.close()
}

func (f *file) close() {
	_ = f.h.Close()
	_ = unix.Close(f.folder)
}

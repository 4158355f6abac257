package store

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

const (
	// Sector is the alignment in bytes of O_DIRECT writes: a multiple of the logical
	// block of every disk in use.
	Sector = 4096

	// Reservation is how much disk space in bytes a storer reserves at a time. It
	// keeps files contiguous without taking the space of a whole file from others.
	Reservation = 64 << 20
)

// File is a file being written, under its temporary name.
type File struct {
	Handle
	Dir   *DirWriter
	Begun time.Time

	Reserved int64 // bytes of disk space reserved; -1: reserving failed
	Locked   bool  // the file is locked

	stem, suffix string
	direct       bool
	folder       int // open: the folder may be renamed while the file is written
}

// ErrDeleted is wrapped by the error about a file that was deleted while it was
// being written.
var ErrDeleted = fmt.Errorf("it was deleted: %w", unix.ENOENT)

func (f *File) partName() string { return f.stem + f.suffix + archive.Part }

// Path returns the file's final path.
func (f *File) Path() string { return filepath.Join(f.Dir.dir.path, f.stem+f.suffix) }

// Error returns "verb PATH: err" with the temporary name.
func (f *File) Error(verb string, err error) error {
	return fmt.Errorf("%s %s: %w", verb, f.Path()+archive.Part, err)
}

// Write writes b at byte off and returns how much of it was written. An error has
// the file's name.
func (f *File) Write(b []byte, off int64) (written int, err error) {
	began := time.Now()
	defer func() { f.Dir.latency.add(time.Since(began)) }()
	for written < len(b) {
		n, err := f.WriteAt(b[written:], off+int64(written))
		written += n
		switch {
		case err == nil && n == 0:
			err = io.ErrShortWrite
		case err == nil && f.direct && written < len(b) && written%Sector != 0:
			// The disk filled up within a sector; O_DIRECT writes whole sectors only.
			err = unix.ENOSPC
		}
		if err != nil {
			return written, f.Error("write", err)
		}
	}
	return written, nil
}

// Deleted reports whether the file has no name any more. The kernel goes on
// writing to such a file.
func (f *File) Deleted() bool {
	n, err := f.Links()
	return err == nil && n == 0
}

// OpenRead opens the file a second time, for reading.
func (f *File) OpenRead() (*os.File, error) {
	fd, err := unix.Openat(f.folder, f.partName(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.partName()), nil
}

// CreateBeside makes a new file in the same folder whose name has another suffix,
// and opens it for writing.
func (f *File) CreateBeside(suffix string) (fd int, err error) {
	return unix.Openat(f.folder, f.stem+suffix, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
}

// RemoveBeside removes a file that CreateBeside made.
func (f *File) RemoveBeside(suffix string) { _ = unix.Unlinkat(f.folder, f.stem+suffix, 0) }

// Publish gives the file its final name; it never replaces a file. Then it syncs
// the folder, unless sync is SyncNever. renamed reports whether the first succeeded.
func (f *File) Publish(sync Sync) (renamed bool, err error) {
	if err := archive.Rename(f.folder, f.partName(), f.stem+f.suffix); err != nil {
		return false, f.Error("rename", err)
	}
	if sync != SyncNever {
		if err := unix.Fsync(f.folder); err != nil && err != unix.EINVAL { // EINVAL: a file system without it
			return true, fmt.Errorf("sync %s: %w", f.Dir.dir.path, err)
		}
	}
	return true, nil
}

// Remove deletes and closes the file.
func (f *File) Remove() {
	_ = unix.Unlinkat(f.folder, f.partName(), 0)
	f.Close()
	f.Dir.files.Add(-1)
}

// Close closes the file, under the name it has. This releases the lock.
func (f *File) Close() {
	_ = unix.Close(f.folder)
	_ = f.Handle.Close()
}

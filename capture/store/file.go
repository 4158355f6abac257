package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/rawfile"
)

const (
	// Block is the unit of writing in bytes.
	Block = rawfile.Block

	// sector is the alignment in bytes of what O_DIRECT writes: a multiple of
	// the logical block of every disk in use.
	sector = 4096

	// ahead is how much room in bytes is reserved on disk at a time. It keeps
	// files in one piece without taking the room of a whole segment from other
	// queues' files.
	ahead = 64 << 20
)

// file is one RAW file being written. Its methods are called by one goroutine,
// apart from writeAt.
type file struct {
	path     string // final name
	f        *os.File
	fd       int
	direct   bool
	reserved int64 // bytes of disk space reserved; -1: could not be
	scarce   bool  // the disk has no room for what was to be reserved
}

// create opens a new file under its temporary name.
func (d *Dir) create(name string) (*file, error) {
	path := filepath.Join(d.path, name)
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if d.direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(path+partial, flags, 0o644)
	if err != nil {
		return nil, err
	}
	return &file{path: path + suffix, f: f, fd: int(f.Fd()), direct: d.direct}, nil
}

// temporary is the file's name while it is being written.
func (f *file) temporary() string { return f.path[:len(f.path)-len(suffix)] + partial }

// reserve sees to it that disk space is reserved up to byte end. Where it cannot
// be, the file is written without; a full disk shows when a write fails.
func (f *file) reserve(end, segment int64) {
	if f.reserved < 0 || end <= f.reserved {
		return
	}
	to := max(min(f.reserved+ahead, segment), end)
	if err := unix.Fallocate(f.fd, unix.FALLOC_FL_KEEP_SIZE, f.reserved, to-f.reserved); err != nil {
		f.reserved, f.scarce = -1, err != unix.EOPNOTSUPP
		return
	}
	f.reserved = to
}

// writeAt writes b at byte off, and says how much of it could be written.
func (f *file) writeAt(b []byte, off int64) (written int, err error) {
	for written < len(b) {
		n, err := unix.Pwrite(f.fd, b[written:], off+int64(written))
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return written, fmt.Errorf("write %s: %w", f.temporary(), err)
		}
		written += n
		if f.direct && written < len(b) && written%sector != 0 {
			// The disk filled up within a sector; the rest cannot be tried with
			// O_DIRECT, which takes whole sectors only.
			return written, fmt.Errorf("write %s: %w", f.temporary(), unix.ENOSPC)
		}
	}
	return written, nil
}

// finish cuts the file, of which written bytes are written, to size bytes, or
// extends it with zeros, and gives it its final name.
func (f *file) finish(written, size int64) error {
	// What is reserved behind the file's end is given back by cutting, not by
	// extending.
	err := unix.Ftruncate(f.fd, min(size, written))
	if err == nil && size > written {
		err = unix.Ftruncate(f.fd, size)
	}
	if err == nil && f.direct {
		err = unix.Fdatasync(f.fd) // the blocks are on disk already, the file's length may not be
	}
	if err != nil {
		return errors.Join(fmt.Errorf("close %s: %w", f.temporary(), err), f.f.Close())
	}
	if err := f.f.Close(); err != nil {
		return err
	}
	return f.rename()
}

// rename gives the file its final name, never that of another file.
func (f *file) rename() error {
	err := unix.Renameat2(unix.AT_FDCWD, f.temporary(), unix.AT_FDCWD, f.path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // file system or kernel without the flag
		if _, there := os.Lstat(f.path); there == nil {
			err = unix.EEXIST
		} else {
			err = unix.Rename(f.temporary(), f.path)
		}
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", f.temporary(), filepath.Base(f.path), err)
	}
	return nil
}

// salvage closes a file that could not be written further than size bytes: it is
// cut after its last whole record, if it has any, closed and given its final name.
func (f *file) salvage(size int64) (kept int64, err error) {
	defer f.f.Close()
	if err := unix.Ftruncate(f.fd, size); err != nil {
		return 0, fmt.Errorf("cut %s: %w", f.temporary(), err)
	}
	whole, err := wholeRecords(f.temporary())
	if err != nil {
		return 0, err
	}
	if whole == 0 {
		return 0, os.Remove(f.temporary())
	}
	// Shorter first: what is added afterwards reads as zeros, a padding record.
	err = unix.Ftruncate(f.fd, whole)
	if err == nil {
		err = unix.Ftruncate(f.fd, whole+rawfile.HeaderLen)
	}
	if err != nil {
		return whole, fmt.Errorf("cut %s: %w", f.temporary(), err)
	}
	return whole, f.rename()
}

// wholeRecords is the length in bytes of the whole records that a file begins with.
func wholeRecords(path string) (int64, error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	r := rawfile.NewReader(in)
	for {
		_, err := r.Next()
		switch {
		case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
			return r.Offset(), nil
		case err != nil:
			return 0, fmt.Errorf("read %s again: %w", path, err)
		}
	}
}

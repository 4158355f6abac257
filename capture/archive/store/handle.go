package store

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Handle is an open file. Its errors are errnos. Tests replace it.
type Handle interface {
	WriteAt(b []byte, off int64) (int, error) // one write, which may be short
	Reserve(off, n int64, grow bool) error    // disk space; the file's length grows by it, or stays
	Truncate(size int64) error
	Sync() error
	Lock() error         // exclusively, without waiting
	Links() (int, error) // names that the file has
	Close() error
}

// diskFile is a file descriptor.
type diskFile int

// OpenFile makes a new file in an open folder, and locks it. Where the file system
// can, the file has no name before it is locked.
func OpenFile(folder int, name string, direct bool) (Handle, error) {
	flags := unix.O_WRONLY | unix.O_CLOEXEC
	if direct {
		flags |= unix.O_DIRECT
	}
	f := -1
	err := again(func() (err error) {
		f, err = unix.Openat(folder, ".", flags|unix.O_TMPFILE, 0o644)
		return err
	})
	if err == nil {
		_ = diskFile(f).Lock()
		path := fmt.Sprintf("/proc/self/fd/%d", f)
		if err = unix.Linkat(unix.AT_FDCWD, path, folder, name, unix.AT_SYMLINK_FOLLOW); err == nil {
			return diskFile(f), nil
		}
		unix.Close(f)
		if err == unix.EEXIST {
			return nil, err
		}
	}
	err = again(func() (err error) {
		f, err = unix.Openat(folder, name, flags|unix.O_CREAT|unix.O_EXCL, 0o644)
		return err
	})
	if err != nil {
		return nil, err
	}
	_ = diskFile(f).Lock()
	return diskFile(f), nil
}

func (f diskFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = again(func() (err error) {
		n, err = unix.Pwrite(int(f), b, off)
		return err
	})
	return max(n, 0), err
}

func (f diskFile) Reserve(off, n int64, grow bool) error {
	mode := uint32(unix.FALLOC_FL_KEEP_SIZE)
	if grow {
		mode = 0
	}
	return again(func() error { return unix.Fallocate(int(f), mode, off, n) })
}

func (f diskFile) Truncate(size int64) error {
	return again(func() error { return unix.Ftruncate(int(f), size) })
}

func (f diskFile) Sync() error { return again(func() error { return unix.Fdatasync(int(f)) }) }

func (f diskFile) Lock() error { return unix.Flock(int(f), unix.LOCK_EX|unix.LOCK_NB) }

func (f diskFile) Close() error { return unix.Close(int(f)) }

func (f diskFile) Links() (int, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f), &st)
	return int(st.Nlink), err
}

// again repeats a system call that a signal interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

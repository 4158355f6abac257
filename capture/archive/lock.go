package archive

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A storer locks a file before it writes the first byte, and no other program
// locks an empty file. So a storer never finds its new file locked.

// ErrBusy is wrapped by the error about a file that another process reads or writes.
var ErrBusy = errors.New("another process is reading or writing it")

// LockShared takes a reader's lock until f is closed. It does not wait. ErrBusy:
// the file is being written or deleted.
func LockShared(f *os.File) error { return lock(f, unix.LOCK_SH) }

// LockExclusive takes the lock for writing, changing or deleting a file until f is
// closed. It does not wait. ErrBusy: another process reads or writes the file.
func LockExclusive(f *os.File) error { return lock(f, unix.LOCK_EX) }

func lock(f *os.File, how int) error {
	switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return fmt.Errorf("%s: %w", f.Name(), ErrBusy)
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// BeingWritten reports whether a file of size bytes, opened for reading, has a
// writer: one with the storer's lock, or one without it.
func BeingWritten(f *os.File, size int64) bool {
	if size > 0 {
		if errors.Is(LockShared(f), ErrBusy) {
			return true
		}
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	return HasWriter(f)
}

// HasWriter reports whether another process has a file, opened for reading, open
// for writing. It needs no lock: the kernel refuses a read lease on such a file.
// It returns false where that cannot be known, see InUse.
func HasWriter(f *os.File) bool {
	used, _ := leaseRefused(f, unix.F_RDLCK)
	return used
}

// InUse reports whether another process has a file, opened for reading, open. known
// is false for file systems without leases and for files of other users.
func InUse(f *os.File) (used, known bool) { return leaseRefused(f, unix.F_WRLCK) }

func leaseRefused(f *os.File, lease int) (refused, known bool) {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, lease)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		return false, true
	}
	refused = errors.Is(err, unix.EAGAIN)
	return refused, refused
}

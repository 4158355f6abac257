package archive

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A storer locks a file before it writes the first byte, and no other program
// locks an empty file. So a storer never finds its new file locked.
//
// Locks keep a repair away from storers and readers. They keep no file from being
// deleted: any user who may read a file may lock it, for ever. A reader keeps its
// descriptor, see ErrReclaimed.

// ErrBusy is wrapped by the error about a file that another process reads or writes.
var ErrBusy = errors.New("another process is reading or writing it")

// LockShared takes a reader's lock until f is closed. It does not wait. ErrBusy:
// the file is being written or repaired.
func LockShared(f *os.File) error { return lock(f, unix.LOCK_SH) }

// LockExclusive takes the lock for writing or changing a file until f is closed. It does not wait. ErrBusy: another process reads or writes the file.
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
	has, _ := HasWriter(f)
	return has
}

// HasWriter reports whether another process has a file, opened for reading, open
// for writing. It needs no lock, which any user may take: the kernel refuses a read
// lease on such a file. known is false where that cannot be known, see InUse.
func HasWriter(f *os.File) (has, known bool) { return leaseRefused(f, unix.F_RDLCK) }

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

// ErrReclaimed is the error about a file that was deleted and whose space was
// reclaimed while a reader had it open.
var ErrReclaimed = errors.New("retention deleted it and reclaimed its space before it was read to the end: later packets are missing")

// Reclaimed reports whether retention took the space of a file that is open. Reads
// find the end of the file then.
func Reclaimed(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink == 0 && st.Size == 0
}

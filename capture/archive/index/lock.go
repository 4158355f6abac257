package index

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Who has a RAW file is told by flock, which the kernel undoes when its holder
// dies, however it does: a storer holds it exclusively for as long as the file has
// its temporary name, a search shares it for as long as it may still read it, and
// whoever wants to delete or change a file must get it exclusively.
//
// A storer locks a file before it writes the first byte, and nobody locks an empty
// one: so it never finds its new file locked.

// ErrBusy is wrapped by the error about a file that somebody else reads or writes.
var ErrBusy = errors.New("somebody else is reading or writing it")

// LockShared takes a reader's lock until f is closed. It does not wait: ErrBusy
// is about a file that is being written, or about to be deleted.
func LockShared(f *os.File) error { return lock(f, unix.LOCK_SH) }

// LockExclusive takes the lock of who writes, changes or deletes a file until f
// is closed. It does not wait: ErrBusy is about a file that somebody reads or writes.
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

// written tells whether somebody has a file of size bytes, opened for reading
// here, open for writing: with the storer's lock, or without it. The kernel knows
// the latter: it gives a read lease only of a file that nobody has open for writing.
func written(f *os.File, size int64) bool {
	fd := int(f.Fd())
	if size > 0 {
		if errors.Is(LockShared(f), ErrBusy) {
			return true
		}
		_ = unix.Flock(fd, unix.LOCK_UN)
	}
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN) // other errors: a file system without leases, or another user's file
}

// inFlight is more than storers write at once behind what they have written, in bytes.
const inFlight = 64 << 20

// stored is how many bytes from a file's start are on disk, of size. A storer
// writes several blocks at once: where the first of them is not there yet, the file
// has a hole, which reads as zeros, even in the middle of a record.
func stored(f *os.File, size int64) int64 {
	// What somebody has read of reserved room is in the page cache, and counts as
	// data there. It is clean, so it can be dropped.
	_ = unix.Fadvise(int(f.Fd()), max(0, size-inFlight)&^(1<<20-1), 0, unix.FADV_DONTNEED)
	hole, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
	if err != nil || hole > size { // a file system that does not tell
		return size
	}
	return hole
}

// exact has the kernel read no more of a file than it is asked for.
func exact(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) }

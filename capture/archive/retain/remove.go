package retain

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/index"
)

// remove deletes a file and what belongs to it, unless somebody has it. The
// error is fs.ErrNotExist if it is no longer what was listed.
func remove(f *File) error {
	in, err := os.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return &fs.PathError{Op: "stat", Path: f.Path, Err: err}
	}
	if uint64(st.Dev) != f.dev || st.Ino != f.inode {
		return &fs.PathError{Op: "delete", Path: f.Path, Err: unix.ENOENT} // another file took its name
	}
	if st.Size > 0 { // an empty file is one that a storer is about to lock
		if err := index.LockExclusive(in); err != nil {
			return err
		}
	}
	if f.Part && written(in) {
		return index.ErrBusy
	}
	if err := os.Remove(f.Path); err != nil {
		return err
	}
	// The file before its index: an index without file is taken away by Recover, a
	// file without index would have to be read as a whole.
	var left error
	for _, path := range f.with {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = &leftover{err}
		}
	}
	return left
}

// leftover is the error about something that belonged to a file that is deleted.
type leftover struct{ error }

func (l *leftover) Unwrap() error { return l.error }

// written tells whether somebody has a file, opened for reading here, open for
// writing, be it without the lock: the kernel then gives no lease for reading.
func written(f *os.File) bool {
	used, _ := refused(f, unix.F_RDLCK)
	return used
}

// refused tells whether others stand in the way of a lease: for F_RDLCK those who
// have the file open for writing, for F_WRLCK those who have it open at all. File
// systems without leases, and other users' files, do not let it be known.
func refused(f *os.File, lease int) (used, known bool) {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, lease)
	if err == nil {
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		return false, true
	}
	used = errors.Is(err, unix.EAGAIN)
	return used, used
}

package retain

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
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
		if err := archive.LockExclusive(in); err != nil {
			return err
		}
	}
	if f.Part && archive.HasWriter(in) {
		return archive.ErrBusy
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

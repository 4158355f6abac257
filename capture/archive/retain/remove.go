package retain

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// remove deletes a file and the files that belong to it. The error is
// archive.ErrBusy if it is in use, fs.ErrNotExist if it is not the listed file any
// more.
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
		return &fs.PathError{Op: "delete", Path: f.Path, Err: unix.ENOENT} // another file has its name
	}
	if st.Size > 0 { // a storer is about to lock an empty file
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
	// The file before its index: Recover deletes an index without a file, but a file
	// without an index would have to be read as a whole.
	var left error
	for _, path := range f.with {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			left = &leftover{err}
		}
	}
	return left
}

// leftover is the error about a companion of a deleted file.
type leftover struct{ error }

func (l *leftover) Unwrap() error { return l.error }

package retain

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// remove deletes a file and the files that belong to it. open is set if a reader has
// the file open. The error is archive.ErrBusy if a storer writes it, fs.ErrNotExist if it
// is not the listed file any more.
//
// A reader's lock does not keep a file, since any user may take one, and a reader that
// is stopped keeps it for ever. The reader keeps its descriptor.
func remove(f *File) (open *unlinked, err error) {
	in, err := os.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.Path, Err: err}
	}
	if uint64(st.Dev) != f.dev || st.Ino != f.inode {
		return nil, &fs.PathError{Op: "delete", Path: f.Path, Err: unix.ENOENT} // another file has its name
	}
	if f.Part && written(in, st.Size) {
		return nil, archive.ErrBusy
	}
	open = openUnlinked(in, f)
	if err := os.Remove(f.Path); err != nil {
		if open != nil {
			_ = open.file.Close()
		}
		return nil, err
	}
	// The file before its index: Recover deletes an index without a file, but a file
	// without an index would have to be read as a whole.
	for _, path := range f.with {
		if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = &leftover{e}
		}
	}
	return open, err
}

// leftover is the error about a companion of a deleted file.
type leftover struct{ error }

func (l *leftover) Unwrap() error { return l.error }

// written reports whether a storer writes a file. Its lock counts only where the kernel
// does not know that: any user may lock what a killed run left.
func written(in *os.File, size int64) bool {
	if has, known := archive.HasWriter(in); known {
		return has
	}
	return archive.BeingWritten(in, size)
}

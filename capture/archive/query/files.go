package query

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// Limits of open files. A query of more files closes some and opens them again.
const (
	maxOpen  = 1000 // more make it no faster
	minOpen  = 8
	reserved = 64 // descriptors for outputs, sockets, indices and the runtime
)

// files limits how many files of a query are open. Files of the time span are opened
// in advance, up to half of the limit, so that they can be read after retention has
// deleted them; the others are open while they are read, the least recently read is closed
// first.
type files struct {
	limit   int
	advance int // open in advance, not being read
	reading []*input
	counted func(n int64) // is called with the bytes of each read
}

// newFiles makes the limit fit the process's own.
func newFiles(counted func(int64)) *files {
	limit := maxOpen
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil && r.Cur < maxOpen+reserved {
		limit = max(int(r.Cur)-reserved, int(r.Cur)/3, minOpen)
	}
	return &files{limit: limit, counted: counted}
}

// input is a file that a query reads. It may be closed between two reads.
type input struct {
	files *files
	path  string // after the writer has closed the file, its final name
	f     *os.File
	size  int64 // when it was last opened

	sequential bool // it is read from its start to its end
	begun      bool // some of it was read, so that the file must stay the same
	advance    bool // open, and counted in files.advance
	id         fileID
}

type fileID struct{ dev, inode uint64 }

// errReplaced is the error of a file that is another one when it is opened again.
var errReplaced = errors.New("was replaced during the query: the rest of it is missing")

// open opens the file, which its writer may have closed, and so renamed, since it was
// listed.
func (in *input) open() error {
	if in.f != nil {
		return nil
	}
	f, err := in.files.open(in.path)
	if final := archive.FinalName(in.path); missing(err) && final != in.path {
		in.path = final
		f, err = in.files.open(final)
	}
	switch {
	case missing(err) && in.begun:
		return fmt.Errorf("%s: was deleted during the query: the rest of it is missing", in.path)
	case err != nil:
		return err
	}
	id, err := identify(f)
	if err == nil && in.id != (fileID{}) && id != in.id {
		err = fmt.Errorf("%s: %w", in.path, errReplaced)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	in.f, in.id = f, id
	if !in.sequential {
		archive.NoReadahead(f)
	}
	in.refresh()
	return nil
}

// open closes files that are being read if the process has no descriptor left.
func (fs *files) open(path string) (*os.File, error) {
	for {
		f, err := os.Open(path)
		if !errors.Is(err, syscall.EMFILE) || len(fs.reading) == 0 {
			return f, err
		}
		fs.reading[0].close()
	}
}

func identify(f *os.File) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fileID{}, err
	}
	return fileID{uint64(st.Dev), st.Ino}, nil
}

// refresh reads the size of the file and takes a reader's lock, so that no repair
// changes it. A file that is being written has its writer's lock.
func (in *input) refresh() {
	if info, err := in.f.Stat(); err == nil {
		in.size = info.Size()
	}
	if in.size > 0 {
		_ = archive.LockShared(in.f)
	}
}

// deleted reports whether the file, which is open, has no name any more.
func (in *input) deleted() bool {
	var st unix.Stat_t
	return unix.Fstat(int(in.f.Fd()), &st) == nil && st.Nlink == 0
}

// keep leaves the file open until it is read, if there are few such files.
func (in *input) keep() {
	fs := in.files
	if in.f == nil || fs.advance >= fs.limit/2 {
		in.close()
		return
	}
	fs.forget(in)
	in.advance = true
	fs.advance++
}

// forget removes a file from those that are open.
func (fs *files) forget(in *input) {
	if i := slices.Index(fs.reading, in); i >= 0 {
		fs.reading = slices.Delete(fs.reading, i, i+1)
	}
	if in.advance {
		in.advance = false
		fs.advance--
	}
}

// read opens the file for a read. It becomes the most recently read one.
func (in *input) read() (*os.File, error) {
	fs := in.files
	fs.forget(in)
	for len(fs.reading) > 0 && len(fs.reading)+fs.advance >= fs.limit {
		fs.reading[0].close()
	}
	if err := in.open(); err != nil {
		return nil, err
	}
	fs.reading = append(fs.reading, in)
	return in.f, nil
}

// ReadAt implements io.ReaderAt.
func (in *input) ReadAt(b []byte, off int64) (int, error) {
	f, err := in.read()
	if err != nil {
		return 0, err
	}
	n, err := f.ReadAt(b, off)
	in.files.counted(int64(n))
	if n < len(b) && archive.Reclaimed(f) {
		err = archive.ErrReclaimed
	}
	return n, err
}

// willNeed makes the kernel read a part of the file, which is open, in advance.
func (in *input) willNeed(off, n int64) {
	if in.f != nil {
		_ = unix.Fadvise(int(in.f.Fd()), off, n, unix.FADV_WILLNEED)
	}
}

// section returns the first n bytes.
func (in *input) section(n int64) *io.SectionReader { return io.NewSectionReader(in, 0, n) }

// close closes the file, which a later read opens again.
func (in *input) close() {
	in.files.forget(in)
	if in.f != nil {
		_ = in.f.Close()
		in.f = nil
	}
}

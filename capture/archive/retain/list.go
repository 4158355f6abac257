package retain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// folder is the listing of a folder of stored files.
type folder struct {
	*archive.Folder
	fs uint64 // device number, which its files need not have (overlayfs)
}

// files returns the stored files of the folder.
func (d folder) files() (all []File, err error) {
	for _, base := range d.Names {
		n, ours := archive.ParseStored(base)
		if !ours {
			continue
		}
		f := File{Path: filepath.Join(d.Path, base), Stamp: n.First, Part: n.Part}
		st, e := lstat(f.Path)
		if e != nil {
			if !errors.Is(e, fs.ErrNotExist) {
				err = e
			}
			continue
		}
		f.Changed = time.Unix(st.Mtim.Unix())
		if f.Stamp.IsZero() {
			f.Stamp = f.Changed
		}
		f.FS, f.dev, f.inode = d.fs, uint64(st.Dev), st.Ino
		f.count(st)
		for _, other := range n.Companions() {
			if !d.Has(other) || other == n.Stem+archive.Index && n.Part && d.Has(n.Final) {
				continue // the index belongs to the closed file
			}
			path := filepath.Join(d.Path, other)
			if st, err := lstat(path); err == nil {
				f.with = append(f.with, path)
				f.count(st)
			}
		}
		all = append(all, f)
	}
	return all, err
}

// markWritten marks the files that are being written.
func (l *Listing) markWritten() {
	for i := range l.Files {
		f := &l.Files[i]
		if !f.Part {
			continue
		}
		in, err := os.OpenFile(f.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue // remove returns the error
		}
		if st, err := in.Stat(); err == nil {
			f.Written = written(in, st.Size())
		}
		_ = in.Close()
	}
}

func (f *File) count(st unix.Stat_t) {
	f.Bytes += st.Size
	if st.Nlink == 1 {
		f.Frees += st.Blocks * 512
	}
}

func lstat(path string) (st unix.Stat_t, err error) {
	if err := unix.Lstat(path, &st); err != nil {
		return st, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, nil
}

// statfs returns the space of a folder's file system.
func statfs(dir string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(dir, &st)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return Space{}, &fs.PathError{Op: "statfs", Path: dir, Err: err}
		}
	}
	unit := int64(st.Frsize)
	if unit == 0 {
		unit = int64(st.Bsize)
	}
	return Space{Free: int64(st.Bavail) * unit, Size: int64(st.Blocks) * unit}, nil
}

// list reads folders, each once. It skips those that do not exist, and those that
// cannot be read, for which it calls failed.
func list(dirs []string, failed func(dir string, err error)) Listing {
	l := Listing{Spaces: map[uint64]Space{}}
	type id struct{ dev, inode uint64 }
	seen := map[id]bool{}
	for _, dir := range dirs {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		if err == nil && seen[id{uint64(st.Dev), st.Ino}] {
			continue
		}
		seen[id{uint64(st.Dev), st.Ino}] = true
		if err == nil {
			err = l.add(dir, uint64(st.Dev))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed(dir, fmt.Errorf("read %s: %w", dir, err))
		}
	}
	l.Now = time.Now()
	return l
}

// add reads one folder. With an error it may have added a part of it.
func (l *Listing) add(dir string, fs uint64) error {
	before, err := statfs(dir)
	if err != nil {
		return err
	}
	names, err := archive.ReadFolder(dir)
	if err != nil {
		return err
	}
	d := folder{names, fs}
	files, err := d.files()
	l.Files = append(l.Files, files...)
	s, e := statfs(dir)
	if e != nil {
		return e
	}
	// The maximum of the free space before and after: what a capture wrote and
	// another cleaner deleted during the scan must not count as missing.
	s.Free = max(s.Free, before.Free, l.Spaces[fs].Free)
	l.Spaces[fs] = s
	return err
}

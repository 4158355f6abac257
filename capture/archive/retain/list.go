package retain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/index"
)

// Endings of file names. A stored file is NAME.raw, NAME.pcap or NAME.pcapng, the
// latter two perhaps with .zst, and each with .part while it is written. What a
// repair cut off has .cut behind that.
const (
	partial    = ".part"
	compressed = ".zst"
	cut        = ".cut"
)

var kinds = []string{".raw", ".pcap", ".pcapng"}

// name is a file's name taken apart.
type name struct {
	stem  string // port, queue, stamp and number
	whole string // the name once it is closed
	stamp time.Time
	raw   bool
	part  bool
}

// parseName takes the name of a stored file apart. ok is false for all others.
func parseName(base string) (n name, ok bool) {
	n.whole, n.part = strings.CutSuffix(base, partial)
	stem := strings.TrimSuffix(n.whole, compressed)
	packed := stem != n.whole
	for _, kind := range kinds {
		if n.stem, ok = strings.CutSuffix(stem, kind); ok {
			n.raw = kind == kinds[0]
			break
		}
	}
	if !ok || n.raw && packed {
		return n, false
	}
	n.stamp, ok = parseStem(n.stem)
	return n, ok
}

// parseStem gives the stamp in a name that store.FileName made.
func parseStem(stem string) (stamp time.Time, ok bool) {
	f, ok := index.ParseName(stem + kinds[0])
	return f.First, ok && f.Port != ""
}

// folder is a folder that has been read.
type folder struct {
	path  string
	fs    uint64 // device number, which its files need not have (overlayfs)
	names map[string]bool
	list  []string // in order
}

func readFolder(path string) (*folder, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	f := &folder{path: path, names: make(map[string]bool, len(entries))}
	for _, e := range entries {
		if e.Type().IsRegular() { // links are left alone
			f.names[e.Name()] = true
			f.list = append(f.list, e.Name())
		}
	}
	return f, nil
}

// files gives the stored files of the folder.
func (d *folder) files() (all []File, err error) {
	for _, base := range d.list {
		n, ours := parseName(base)
		if !ours {
			continue
		}
		f := File{Path: filepath.Join(d.path, base), Stamp: n.stamp, Part: n.part}
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
		for _, other := range n.companions() {
			if !d.names[other] || other == n.stem+index.Suffix && n.part && d.names[n.whole] {
				continue // the index is that of the closed file
			}
			path := filepath.Join(d.path, other)
			if st, err := lstat(path); err == nil {
				f.with = append(f.with, path)
				f.count(st)
			}
		}
		all = append(all, f)
	}
	return all, err
}

// companions are the names of what belongs to a file.
func (n name) companions() []string {
	var all []string
	if n.raw {
		all = append(all, n.stem+index.Suffix)
	}
	if n.part {
		return append(all, n.whole+partial+cut)
	}
	return append(all, n.whole+cut, n.whole+partial+cut)
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

// statfs says what a folder's file system has.
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

// list reads folders, those named twice once. Those that do not exist are left
// out, as are those that cannot be read; failed is called with the latter.
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
			failed(dir, fmt.Errorf("look through %s: %w", dir, err))
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
	d, err := readFolder(dir)
	if err != nil {
		return err
	}
	d.fs = fs
	files, err := d.files()
	l.Files = append(l.Files, files...)
	s, e := statfs(dir)
	if e != nil {
		return e
	}
	// Free space as it was before or after, whichever is more: what a capture wrote
	// and what another keeper deleted meanwhile must not look like want.
	s.Free = max(s.Free, before.Free, l.Spaces[fs].Free)
	l.Spaces[fs] = s
	return err
}

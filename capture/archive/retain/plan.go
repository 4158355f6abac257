package retain

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is a stored file with the files that belong to it: its index, and what a
// repair cut off.
type File struct {
	Path    string
	Stamp   time.Time // of its first record by the name, or Changed if the name has none
	Changed time.Time // when it was last written to
	Bytes   int64     // length, of companions too
	Frees   int64     // bytes of disk space that deleting it frees: 0 if it has another hard link
	FS      uint64    // file system of its folder
	Part    bool      // it has its temporary name
	Written bool      // a storer writes it
	Left    bool      // it cannot be deleted now

	with       []string // paths of the files that belong to it
	dev, inode uint64
}

// Space is the size of a file system, in bytes.
type Space struct {
	Free int64 // for users other than root
	Size int64
}

// Listing is the input of Plan.
type Listing struct {
	Now    time.Time
	Newest time.Time // stamp of the newest file that a running capture has closed; may be zero
	Files  []File    // in any order
	Spaces map[uint64]Space
}

// Removal is a file to delete, and why.
type Removal struct {
	File
	Reason Reason
}

// maxAhead is how far ahead of the clock a stamp is valid. A clock that is set
// back during a capture leaves its stamps ahead for a while (package clock).
const maxAhead = 24 * time.Hour

// Plan returns the files to delete so that the limits hold, oldest first: all files
// that are too old; then, on each file system, the oldest until the free space is
// reached; then the oldest of all until the size and the number of files are reached. Files
// that are marked as Left, or whose deletion does not help, are passed over. Files that
// are being written count, but are deleted for their age only.
func Plan(l Listing, p Policy) []Removal {
	all := make([]Removal, len(l.Files))
	total, files := int64(0), len(l.Files)
	for i, f := range l.Files {
		all[i].File = f
		total += f.Bytes
	}
	all = l.sorted(all)
	free := map[uint64]int64{}
	for fs, s := range l.Spaces {
		if p.Free >= s.Size {
			continue // deleting all would not reach it
		}
		free[fs] = s.Free
	}
	pass := func(why Reason, needed func(f *File) bool) {
		for i := range all {
			f := &all[i]
			if f.Reason != "" || f.Left || f.Written && why != ForAge || !needed(&f.File) {
				continue
			}
			f.Reason = why
			total -= f.Bytes
			files--
			if _, limited := free[f.FS]; limited {
				free[f.FS] += f.Frees
			}
		}
	}
	if p.Age > 0 {
		pass(ForAge, func(f *File) bool { return l.Now.Sub(f.last(l.Now)) > p.Age })
	}
	if p.Free > 0 {
		pass(ForFree, func(f *File) bool {
			have, limited := free[f.FS]
			return limited && have < p.Free && f.Frees > 0
		})
	}
	if p.Size > 0 {
		pass(ForSize, func(f *File) bool { return total > p.Size && f.Bytes > 0 })
	}
	if p.Files > 0 {
		pass(ForFiles, func(*File) bool { return files > p.Files })
	}
	return slices.DeleteFunc(all, func(r Removal) bool { return r.Reason == "" })
}

// last returns about when the file's last record was captured: when it was last
// written, unless that is before its first record or in the future.
func (f *File) last(now time.Time) time.Time {
	if f.Changed.Before(f.Stamp) || f.Changed.After(now) {
		return f.Stamp
	}
	return f.Changed
}

// sorted returns all, oldest first. Stamps too far ahead of the clock are oldest.
func (l *Listing) sorted(all []Removal) []Removal {
	wrong := l.Now
	if l.Newest.After(wrong) {
		wrong = l.Newest
	}
	wrong = wrong.Add(maxAhead)
	slices.SortFunc(all, func(a, b Removal) int {
		fa, fb := a.Stamp.After(wrong), b.Stamp.After(wrong)
		if fa != fb {
			if fa {
				return -1
			}
			return 1
		}
		return cmp.Or(a.Stamp.Compare(b.Stamp), strings.Compare(filepath.Base(a.Path), filepath.Base(b.Path)), strings.Compare(a.Path, b.Path))
	})
	return all
}

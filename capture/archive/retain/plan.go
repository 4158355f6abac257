package retain

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is a stored file with what belongs to it: its index, and what a repair cut
// off it.
type File struct {
	Path    string
	Stamp   time.Time // of its first record by the name, or Changed if that does not say
	Changed time.Time // when it was last written to
	Bytes   int64     // length, of all that belongs to it
	Frees   int64     // bytes of disk space that deleting it gives back: 0 if it has another name
	FS      uint64    // file system of its folder
	Part    bool      // it is being written, or was when its writer ended
	Left    bool      // it cannot be deleted now

	with       []string // paths of what belongs to it
	dev, inode uint64
}

// Space is what a file system has, in bytes.
type Space struct {
	Free int64 // for users other than root
	Size int64
}

// Listing is what there is to decide about.
type Listing struct {
	Now    time.Time
	Newest time.Time // stamp of the latest file of a capture under way; may be zero
	Files  []File    // in any order
	Spaces map[uint64]Space
}

// Removal is a file to delete, and why.
type Removal struct {
	File
	Reason Reason
}

// ahead is how far a stamp may be ahead of the clock and be believed. A clock
// set back within a capture leaves its stamps ahead for a while (package clock).
const ahead = 24 * time.Hour

// Plan says which files to delete so that the limits hold, oldest first. First
// those that are too old, whatever else; then, on each file system by itself, as
// many of the oldest as bring the free space; then as many of the oldest of all
// as bring the size. A file is left alone if it is marked so, or if deleting it
// does not help, and the next oldest goes in its place.
func Plan(l Listing, p Policy) []Removal {
	all := make([]Removal, len(l.Files))
	total := int64(0)
	for i, f := range l.Files {
		all[i].File = f
		total += f.Bytes
	}
	all = l.sorted(all)
	free := map[uint64]int64{}
	for fs, s := range l.Spaces {
		if p.Free >= s.Size {
			continue // never: deleting all would not bring it
		}
		free[fs] = s.Free
	}
	pass := func(why Reason, needed func(f *File) bool) {
		for i := range all {
			f := &all[i]
			if f.Reason != "" || f.Left || !needed(&f.File) {
				continue
			}
			f.Reason = why
			total -= f.Bytes
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
	return slices.DeleteFunc(all, func(r Removal) bool { return r.Reason == "" })
}

// last is when the file's last record was captured, as far as is known without
// reading: when it was written, unless that is before its first record, or to come.
func (f *File) last(now time.Time) time.Time {
	if f.Changed.Before(f.Stamp) || f.Changed.After(now) {
		return f.Stamp
	}
	return f.Changed
}

// sorted puts the oldest first.
func (l *Listing) sorted(all []Removal) []Removal {
	wrong := l.Now
	if l.Newest.After(wrong) {
		wrong = l.Newest
	}
	wrong = wrong.Add(ahead)
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

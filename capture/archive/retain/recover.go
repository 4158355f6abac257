package retain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/units"
)

// Recovered is a file that a killed run left, and what was done about it.
type Recovered struct {
	Path   string   // final, or before it was deleted; or of a folder that could not be read
	Done   []string // in order; may be empty
	Frames uint64   // whole records in the file
	Err    error    // nil: the file is in order
}

// String returns r in one line.
func (r Recovered) String() string {
	text := r.Path
	if len(r.Done) > 0 {
		text += ": " + strings.Join(r.Done, "; ")
	}
	if r.Frames > 0 {
		text += "; " + units.Plural(r.Frames, "frame")
	}
	if r.Err != nil {
		text += fmt.Sprintf(": not repaired: %v", r.Err)
	}
	return text
}

// Recover repairs what killed runs left in folders: a file that was being written
// is cut after its last whole record and gets its final name and its index
// (index.Repair), or is deleted if it has no record. Indexes without a file,
// temporary indexes and probes of package store are deleted. Files that a process
// has open are skipped, so captures may run. Recover reads unfinished files as a
// whole. It skips folders that do not exist.
func Recover(ctx context.Context, dirs ...string) (all []Recovered) {
	for _, dir := range dirs {
		names, err := archive.ReadFolder(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				all = append(all, Recovered{Path: dir, Err: err})
			}
			continue
		}
		d := folder{Folder: names}
		for _, base := range d.Names {
			if ctx.Err() != nil {
				return all
			}
			if r, found := d.recover(base); found {
				all = append(all, r)
			}
		}
	}
	return all
}

// recover repairs one file. found is false if there was nothing to do.
func (d folder) recover(base string) (r Recovered, found bool) {
	path := filepath.Join(d.Path, base)
	if n, ok := archive.ParseStored(base); ok {
		switch {
		case !n.Part:
			return r, false
		case n.Raw:
			return closeRaw(path)
		}
		return closePackets(path)
	}
	what := ""
	if stem, ok := archive.ParseSidecar(base); ok && d.orphan(stem) {
		what = "an index without its file"
	}
	if archive.IsTempIndex(base) {
		what = "an unfinished index"
	}
	if strings.HasPrefix(base, archive.ProbePrefix) {
		what = "a probe file"
	}
	if what == "" {
		return r, false
	}
	dead, err := abandoned(path)
	if err == nil && dead {
		err = os.Remove(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !dead:
		return r, false
	case err != nil:
		return Recovered{Path: path, Err: err}, true
	}
	return Recovered{Path: path, Done: []string{"deleted: " + what}}, true
}

// closeRaw closes a RAW file, unless it is being written.
func closeRaw(path string) (Recovered, bool) {
	f, _ := archive.ParseName(path)
	report, done, err := index.Repair(f, false)
	if errors.Is(err, fs.ErrNotExist) || report.Writing || err == nil && len(done) == 0 {
		return Recovered{}, false
	}
	r := Recovered{Path: report.File.Path, Done: done, Frames: report.Frames, Err: err}
	if err == nil && report.Frames > 0 {
		// Retention takes the age from the time of change.
		r.Err = os.Chtimes(r.Path, time.Time{}, report.Latest)
	}
	return r, true
}

// closePackets closes a packet file, unless it is being written.
func closePackets(path string) (r Recovered, found bool) {
	in, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false
	}
	if err != nil {
		return Recovered{Path: path, Err: err}, true
	}
	busy, _ := archive.HasWriter(in)
	in.Close()
	if busy {
		return r, false
	}
	final, whole, err := pcapstore.Recover(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, false
	case final == "" && err != nil:
		return Recovered{Path: path, Err: err}, true
	case final == "":
		return Recovered{Path: path, Done: []string{"deleted: it holds no packet"}}, true
	}
	r = Recovered{Path: final, Done: []string{"cut after its last whole packet", "renamed to " + filepath.Base(final)}, Frames: whole.Packets, Err: err}
	if err == nil {
		r.Err = os.Chtimes(final, time.Time{}, time.Unix(0, whole.Last))
	}
	return r, true
}

// orphan reports whether there is no file for an index named stem.
func (d folder) orphan(stem string) bool {
	raw := stem + archive.Raw
	if d.Has(raw) || d.Has(raw+archive.Part) {
		return false
	}
	// A storer makes the file before the index and removes it after the index. The file
	// may have been renamed, from the first to the second name, since the folder was read.
	for _, name := range []string{raw + archive.Part, raw} {
		if _, err := lstat(filepath.Join(d.Path, name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// minUnused is how old a file must be to count as unused where the file system
// cannot tell whether a process has it open.
const minUnused = time.Hour

// abandoned reports whether no process has a file open.
func abandoned(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	used, known := archive.InUse(f)
	if known {
		return !used, nil
	}
	info, err := f.Stat()
	return err == nil && time.Since(info.ModTime()) > minUnused, err
}

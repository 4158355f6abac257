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
)

// Recovered is something that a dead run left and what was done about it.
type Recovered struct {
	Path   string   // as it is now, or was before it was deleted; a folder that could not be read
	Done   []string // in order; empty if nothing could be
	Frames uint64   // whole records that the file holds
	Err    error    // why it is not in order yet
}

// String is r in one line.
func (r Recovered) String() string {
	text := r.Path
	if len(r.Done) > 0 {
		text += ": " + strings.Join(r.Done, "; ")
	}
	if r.Frames > 0 {
		text += fmt.Sprintf("; %d frames", r.Frames)
	}
	if r.Err != nil {
		text += fmt.Sprintf(": not put in order: %v", r.Err)
	}
	return text
}

// Recover puts in order what dead runs left in folders: a file that was being
// written ends after its last whole record and gets its final name and its index
// (index.Repair), or is deleted if it holds none; indices without file, indices
// half made and the probes of package store are deleted. What a living program
// has open is left alone, so it may work while captures run; reading gigabytes it
// takes a while. Folders that do not exist have nothing to put in order.
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

// recover looks after one file. found is false if it is as it should be.
func (d folder) recover(base string) (r Recovered, found bool) {
	path := filepath.Join(d.Path, base)
	if n, ours := archive.ParseStored(base); ours {
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
		what = "an index half made"
	}
	if strings.HasPrefix(base, archive.ProbePrefix) {
		what = "a probe"
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

// closeRaw closes a RAW file that is not being written any more.
func closeRaw(path string) (Recovered, bool) {
	f, _ := archive.ParseName(path)
	report, done, err := index.Repair(f, false)
	if errors.Is(err, fs.ErrNotExist) || report.Writing || err == nil && len(done) == 0 {
		return Recovered{}, false
	}
	r := Recovered{Path: report.File.Path, Done: done, Frames: report.Frames, Err: err}
	if err == nil && report.Frames > 0 {
		// The time of change tells how old a file is: putting it in order makes it no younger.
		r.Err = os.Chtimes(r.Path, time.Time{}, report.Latest)
	}
	return r, true
}

// closePackets closes a file of packets that is not being written any more.
func closePackets(path string) (r Recovered, found bool) {
	in, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return r, false
	}
	if err != nil {
		return Recovered{Path: path, Err: err}, true
	}
	busy := archive.HasWriter(in)
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

// orphan tells whether there is no file for an index named stem.
func (d folder) orphan(stem string) bool {
	raw := stem + archive.Raw
	if d.Has(raw) || d.Has(raw+archive.Part) {
		return false
	}
	// A storer makes the file before the index and takes it away after it; while this
	// folder was being read it may have been renamed, from the first to the second name.
	for _, name := range []string{raw + archive.Part, raw} {
		if _, err := lstat(filepath.Join(d.Path, name)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// old is how long nothing happened to a file that nobody uses any more, where the
// file system does not tell whether somebody does.
const old = time.Hour

// abandoned tells whether nobody has a file open.
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
	return err == nil && time.Since(info.ModTime()) > old, err
}

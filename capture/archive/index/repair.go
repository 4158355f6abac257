package index

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// maxDiscard is how many bytes may be cut off a file without being saved: less than
// one record.
const maxDiscard = rawfile.HeaderLen + rawfile.MaxData

// Repair cuts the end of a file after its last complete record and closes it with a
// padding record, gives a file that its writer did not finish its final name, and
// rebuilds an index that is missing or wrong. done has what it did or, with dry set,
// would do.
//
// Only zeros and an incomplete record are discarded; longer ends are saved to a file
// of their own. After every step the file can be read, even if the program is killed.
func Repair(f archive.File, dry bool) (r Report, done []string, err error) {
	r, m, err := verify(f)
	if err != nil || r.Writing {
		return r, nil, err
	}
	x := repair{r: &r, expected: m, dry: dry}
	if err := x.run(); err != nil {
		return r, x.done, fmt.Errorf("repair %s: %w", f.Path, err)
	}
	if x.removed {
		r.Problems = nil
		return r, x.done, nil
	}
	if dry || len(x.done) == 0 {
		return r, x.done, nil
	}
	after, err := Inspect(r.File)
	if err == nil && after.Index != Complete {
		err = fmt.Errorf("repair %s: the new index is %s: another process changes the file", r.Path, after.Index)
	}
	// The problems of the end and the index are repaired.
	after.Problems = r.lasting
	return after, x.done, err
}

type repair struct {
	r        *Report
	expected expected // index that the file must have
	dry      bool
	removed  bool // the file was deleted or renamed to .cut
	done     []string
}

func (x *repair) report(format string, args ...any) {
	x.done = append(x.done, fmt.Sprintf(format, args...))
}

func (x *repair) run() error {
	r := x.r
	part := r.File.Part
	end := r.end.kind != endClosed
	index := r.Index != Complete || end
	if !part && !end && !index {
		return nil
	}
	if !part && !end {
		raw, err := openLocked(r.Path)
		if err != nil {
			return err
		}
		defer raw.Close()
		return x.writeIndex()
	}
	raw, err := os.OpenFile(r.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer raw.Close()
	if err := archive.LockExclusive(raw); err != nil {
		return err
	}
	if info, err := raw.Stat(); err != nil || info.Size() != r.Size {
		return errors.Join(err, errors.New("another process changes the file: nothing was changed. Try again later"))
	}
	if part && r.Frames == 0 {
		if !r.end.dirty || r.end.kind == endCut && r.end.bytes <= maxDiscard {
			return x.remove()
		}
		return x.setAside()
	}
	if part {
		if _, err := os.Lstat(archive.FinalName(r.Path)); err == nil {
			return fmt.Errorf("rename to %s: %w", filepath.Base(archive.FinalName(r.Path)), unix.EEXIST)
		}
	}
	if end {
		if err := x.cut(raw); err != nil {
			return err
		}
	}
	// The index before the name: if the program is killed in between, the file still
	// has its temporary name and is repaired again.
	var indexErr error
	if index {
		indexErr = x.writeIndex()
	}
	if part {
		return errors.Join(x.rename(), indexErr)
	}
	return indexErr
}

// remove deletes a file whose writer wrote no complete record.
func (x *repair) remove() error {
	x.report("deleted: no complete record")
	if x.dry {
		return nil
	}
	if err := os.Remove(x.r.File.Sidecar()); err != nil && !missing(err) {
		return err
	}
	x.removed = true
	return os.Remove(x.r.Path)
}

// setAside renames a file that does not begin with a record: its first block was not
// written when its writer was killed.
func (x *repair) setAside() error {
	aside := x.r.Path + archive.Cut
	x.report("renamed to %s: does not begin with a record", filepath.Base(aside))
	if x.dry {
		return nil
	}
	if err := os.Remove(x.r.File.Sidecar()); err != nil && !missing(err) {
		return err
	}
	x.removed = true
	if err := archive.RenamePath(x.r.Path, aside); err != nil {
		return err
	}
	return syncDir(aside)
}

// cut ends the file after its last complete record with a padding record.
func (x *repair) cut(raw *os.File) error {
	r := x.r
	at := r.Records
	if n := r.end.bytes; r.end.dirty && n > maxDiscard {
		x.report("cut at byte %d: the %d bytes from there on were saved to %s", at, r.Size-at, filepath.Base(r.Path)+archive.Cut)
		if !x.dry {
			if err := save(raw, at, r.Path+archive.Cut); err != nil {
				return err
			}
		}
	} else {
		x.report("cut at byte %d, after the last complete record: %s", at, r.end.text())
	}
	if x.dry {
		return nil
	}
	// Shorten first: the bytes added afterwards read as zeros, a padding record.
	if err := raw.Truncate(at); err != nil {
		return err
	}
	if err := raw.Truncate(at + rawfile.HeaderLen); err != nil {
		return err
	}
	x.expected.trailer.Length = at + rawfile.HeaderLen
	return raw.Sync()
}

// text describes the bytes that are cut off.
func (e ending) text() string {
	switch {
	case e.kind == endUnclosed:
		return "a padding record was added"
	case e.kind == endShort:
		return "padding removed"
	case !e.dirty:
		return fmt.Sprintf("%d zeros removed", e.bytes)
	case e.kind == endCut:
		return fmt.Sprintf("%d bytes of an incomplete record removed", e.bytes)
	}
	return fmt.Sprintf("%d bytes that are no record removed", e.bytes)
}

// save copies the bytes from at on to a new file.
func save(raw *os.File, at int64, name string) error {
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.NewSectionReader(raw, at, 1<<62))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(fmt.Errorf("save the bytes cut off: %w", err), os.Remove(name))
	}
	return syncDir(name)
}

// rename gives a file its final name. It never replaces another file.
func (x *repair) rename() error {
	f := &x.r.File
	final := archive.FinalName(f.Path)
	x.report("renamed to %s", filepath.Base(final))
	if x.dry {
		return nil
	}
	if err := archive.RenamePath(f.Path, final); err != nil {
		return err
	}
	f.Path, f.Part, x.r.Path = final, false, final
	return syncDir(final)
}

// writeIndex writes the expected index.
func (x *repair) writeIndex() error {
	x.report("index built")
	if x.dry {
		return nil
	}
	return writeSidecar(x.r.File, x.expected.sidecar())
}

// Build builds the index of a closed RAW file, replaces the existing one, and returns
// its trailer. The error wraps an *rawfile.Error if the file is damaged; the index
// goes up to there.
func Build(f archive.File) (Trailer, error) {
	raw, err := openLocked(f.Path)
	if err != nil {
		return Trailer{}, err
	}
	defer raw.Close()
	info, err := raw.Stat()
	if err != nil {
		return Trailer{}, err
	}
	x, _, bad, err := expect(raw, info.Size())
	if err != nil {
		return Trailer{}, err
	}
	if bad != nil {
		bad = fmt.Errorf("%s: %w", f.Path, bad)
	}
	return x.trailer, errors.Join(writeSidecar(f, x.sidecar()), bad)
}

// openLocked opens a file with a reader's lock, so that it is not changed.
func openLocked(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err = archive.LockShared(f); err == nil {
		_, err = os.Stat(path) // deleted before it was locked?
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writeSidecar writes a file's sidecar under a temporary name and renames it, so that it
// is complete or does not exist. It leaves none of a file that was deleted.
func writeSidecar(f archive.File, b []byte) error {
	name := f.Sidecar()
	tmp, err := temporary(name)
	if err != nil {
		return err
	}
	defer tmp.Close()
	if _, err = tmp.Write(b); err == nil {
		err = tmp.Sync()
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	if _, err := os.Lstat(f.Path); errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.Remove(name))
	}
	return syncDir(name)
}

// temporary opens an empty file that is to become name. It reuses one that a killed
// program left; one that another process writes is archive.ErrBusy.
func temporary(name string) (*os.File, error) {
	path := archive.TempIndex(name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = archive.LockExclusive(f)
	if err == nil {
		mine, e1 := f.Stat()
		there, e2 := os.Stat(path)
		if e1 != nil || e2 != nil || !os.SameFile(mine, there) {
			err = fmt.Errorf("%s: %w", path, archive.ErrBusy) // renamed since it was opened
		}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// syncDir writes a file's name to disk.
func syncDir(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // not supported by the file system
		return err
	}
	return nil
}

package index

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// keep is how many bytes may be cut off a file without being kept beside it: less
// than one record.
const keep = rawfile.HeaderLen + rawfile.MaxData

// Repair puts right what can be: the end of a file is cut after its last whole
// record and closed with a padding record, a file that its writer left unfinished
// gets its final name, and an index that is missing or not the file's is made
// anew. It says in done what it did or, with dry set, would do.
//
// Of what is cut off nothing is lost but zeros and a record that is not whole:
// more than that is kept in a file of its own. Every step leaves a file that can be
// read, whatever happens to the program.
func Repair(f archive.File, dry bool) (r Report, done []string, err error) {
	r, m, err := verify(f)
	if err != nil || r.Writing {
		return r, nil, err
	}
	x := repair{r: &r, made: m, dry: dry}
	if err := x.run(); err != nil {
		return r, x.done, fmt.Errorf("repair %s: %w", f.Path, err)
	}
	if x.gone {
		r.Problems = nil
		return r, x.done, nil
	}
	if dry || len(x.done) == 0 {
		return r, x.done, nil
	}
	after, err := Inspect(r.File)
	if err == nil && after.Index != IndexWhole {
		err = fmt.Errorf("repair %s: the new index is %s: somebody else changes the file", r.Path, after.Index)
	}
	// What was wrong with the end and the index is no longer.
	after.Problems = r.lasting
	return after, x.done, err
}

type repair struct {
	r    *Report
	made made // the index that the file must have
	dry  bool
	gone bool // the file was deleted
	done []string
}

func (x *repair) say(format string, args ...any) {
	x.done = append(x.done, fmt.Sprintf(format, args...))
}

func (x *repair) run() error {
	r := x.r
	part := r.File.Part
	end := r.end.kind != "closed"
	index := r.Index != IndexWhole || end
	if !part && !end && !index {
		return nil
	}
	if !part && !end {
		raw, err := hold(r.Path)
		if err != nil {
			return err
		}
		defer raw.Close()
		return x.index()
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
		return errors.Join(err, errors.New("it changes while it is looked at: left as it is"))
	}
	if part && r.Frames == 0 {
		if !r.end.dirty || r.end.kind == "cut" && r.end.bytes <= keep {
			return x.drop()
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
	// The index before the name: whoever is killed in between leaves a file that
	// still looks unfinished.
	var unindexed error
	if index {
		unindexed = x.index()
	}
	if part {
		return errors.Join(x.finish(), unindexed)
	}
	return unindexed
}

// drop deletes what a writer left that never wrote a whole record.
func (x *repair) drop() error {
	x.say("deleted: it holds no whole record")
	if x.dry {
		return nil
	}
	if err := os.Remove(x.r.File.Sidecar()); err != nil && !missing(err) {
		return err
	}
	x.gone = true
	return os.Remove(x.r.Path)
}

// setAside keeps a file that does not begin with a record, which one of ours does:
// its first block had not been written when its writer was killed.
func (x *repair) setAside() error {
	aside := x.r.Path + archive.Cut
	x.say("kept as %s: it does not begin with a record", filepath.Base(aside))
	if x.dry {
		return nil
	}
	if err := os.Remove(x.r.File.Sidecar()); err != nil && !missing(err) {
		return err
	}
	x.gone = true
	if err := archive.RenamePath(x.r.Path, aside); err != nil {
		return err
	}
	return syncDir(aside)
}

// cut ends the file after its last whole record with a padding record.
func (x *repair) cut(raw *os.File) error {
	r := x.r
	at := r.Records
	if n := r.end.bytes; r.end.dirty && n > keep {
		x.say("cut at byte %d: the %d bytes from there on are kept in %s", at, r.Size-at, filepath.Base(r.Path)+archive.Cut)
		if !x.dry {
			if err := save(raw, at, r.Path+archive.Cut); err != nil {
				return err
			}
		}
	} else {
		x.say("cut at byte %d, after the last whole record: %s", at, r.end.text())
	}
	if x.dry {
		return nil
	}
	// Shorter first: what is added afterwards reads as zeros, a padding record.
	if err := raw.Truncate(at); err != nil {
		return err
	}
	if err := raw.Truncate(at + rawfile.HeaderLen); err != nil {
		return err
	}
	x.made.trailer.Length = at + rawfile.HeaderLen
	return raw.Sync()
}

// text says what is cut off.
func (e ending) text() string {
	switch {
	case e.kind == "unclosed":
		return "only the padding record is new"
	case e.kind == "short":
		return "only padding follows"
	case !e.dirty:
		return fmt.Sprintf("%d zeros follow", e.bytes)
	case e.kind == "cut":
		return fmt.Sprintf("%d bytes of a record that is not whole follow", e.bytes)
	}
	return fmt.Sprintf("%d bytes that are no record follow", e.bytes)
}

// save copies what follows at to a new file.
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
		return errors.Join(fmt.Errorf("keep what is cut off: %w", err), os.Remove(name))
	}
	return syncDir(name)
}

// finish gives a file its final name, never that of another file.
func (x *repair) finish() error {
	f := &x.r.File
	final := archive.FinalName(f.Path)
	x.say("renamed to %s", filepath.Base(final))
	if x.dry {
		return nil
	}
	if err := archive.RenamePath(f.Path, final); err != nil {
		return err
	}
	f.Path, f.Part, x.r.Path = final, false, final
	return syncDir(final)
}

// index makes a new sidecar, of the file as it is now.
func (x *repair) index() error {
	x.say("index made")
	if x.dry {
		return nil
	}
	return writeSidecar(x.r.File.Sidecar(), x.made.sidecar())
}

// Build makes the sidecar of a closed RAW file, in place of the one there is, and
// tells what it says of the file. An *rawfile.Error tells that the file is damaged;
// the sidecar goes up to there.
func Build(f archive.File) (Trailer, error) {
	raw, err := hold(f.Path)
	if err != nil {
		return Trailer{}, err
	}
	defer raw.Close()
	info, err := raw.Stat()
	if err != nil {
		return Trailer{}, err
	}
	m, _, bad, err := makeIndex(raw, info.Size())
	if err != nil {
		return Trailer{}, err
	}
	if bad != nil {
		bad = fmt.Errorf("%s: %w", f.Path, bad)
	}
	return m.trailer, errors.Join(writeSidecar(f.Sidecar(), m.sidecar()), bad)
}

// hold opens a file and sees to it that it stays: that nobody deletes it who heeds
// the locks.
func hold(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err = archive.LockShared(f); err == nil {
		_, err = os.Stat(path) // it may have been deleted before it was locked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// writeSidecar writes under a temporary name first: a sidecar is there as a whole,
// or not at all.
func writeSidecar(name string, b []byte) error {
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
	return syncDir(name)
}

// temporary opens an empty file that is to become name. One that somebody left
// behind is taken over; one that somebody writes is archive.ErrBusy.
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
			err = fmt.Errorf("%s: %w", path, archive.ErrBusy) // it has got its name meanwhile
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

// syncDir makes sure that a file's name is on disk.
func syncDir(name string) error {
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // a file system that cannot
		return err
	}
	return nil
}

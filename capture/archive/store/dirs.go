package store

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/internal/asynclog"
)

const (
	defaultRetry = time.Second

	// maxNames is how many file names that are taken Create passes over.
	maxNames = 100
)

// DirsConfig describes the files of a storer.
type DirsConfig struct {
	Port     string   // for file names
	Queue    int      // for file names
	Suffix   string   // of file names
	Beside   []string // suffixes of files that belong to a file: a name is taken if one of them is there
	FileSize int64    // of a full file, in bytes
	Grow     bool     // reserving disk space lengthens a file
	Buffered bool     // no O_DIRECT

	Losses *Losses             // what was not stored
	Text   func(Amount) string // describes it in log lines
	Logger *slog.Logger        // nil discards
}

// Dirs are the folders of one storer. One goroutine uses them, except DirWriter's
// counters.
type Dirs struct {
	cfg   DirsConfig
	all   []*DirWriter
	next  int           // folder for the next file
	begun int           // file names
	retry time.Duration // at least, between two files begun in a degraded folder
}

// NewDirs returns the folders of a storer, at least one.
func NewDirs(cfg DirsConfig, dirs ...*Dir) (*Dirs, error) {
	if len(dirs) == 0 {
		return nil, errors.New("no folder to store in")
	}
	cfg.Logger, _ = asynclog.Wrap(cfg.Logger)
	d := &Dirs{cfg: cfg, retry: defaultRetry}
	for _, dir := range dirs {
		d.all = append(d.all, &DirWriter{dir: dir})
	}
	return d, nil
}

// SetRetry sets the least time between two files begun in a degraded folder; the
// default is 1 s.
func (d *Dirs) SetRetry(retry time.Duration) { d.retry = retry }

// Retry returns what SetRetry set.
func (d *Dirs) Retry() time.Duration { return d.retry }

// Writers returns all folders, in the order given to NewDirs.
func (d *Dirs) Writers() []*DirWriter { return d.all }

// Ready reports whether a file may be begun in one of the folders.
func (d *Dirs) Ready() bool {
	now := time.Now()
	for _, w := range d.all {
		if w.ready(now) {
			return true
		}
	}
	return false
}

// Create begins a file, named after the stamp of its first record, in the folder
// with the fewest waiting blocks; folders with equally many take turns. begin, if
// not nil, writes the start of the file. Where that or creating it fails the next
// folder is tried. Create returns nil if no folder takes a file.
func (d *Dirs) Create(first time.Time, begin func(*File) error) *File {
	now := time.Now()
	tried := make([]bool, len(d.all))
	for range d.all {
		best := -1
		for i := range d.all {
			n := (d.next + i) % len(d.all)
			if !tried[n] && d.all[n].ready(now) && (best < 0 || d.all[n].waiting.Load() < d.all[best].waiting.Load()) {
				best = n
			}
		}
		if best < 0 {
			return nil
		}
		tried[best] = true
		w := d.all[best]
		f, err := d.create(w, first, now)
		if err == nil && begin != nil {
			if err = begin(f); err != nil {
				f.Remove()
			}
		}
		if err != nil {
			d.Fail(w, err)
			continue
		}
		d.next = (best + 1) % len(d.all)
		return f
	}
	return nil
}

// create begins a file in a folder.
func (d *Dirs) create(w *DirWriter, first, now time.Time) (f *File, err error) {
	w.tried = now
	for range maxNames {
		f, err = w.create(archive.FileName(d.cfg.Port, d.cfg.Queue, first, d.begun), d.cfg)
		d.begun++
		if !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	f.Begun = now
	if w.fault.Load() != nil || d.others(w) {
		// A full disk with a few free blocks takes no file, if another one may.
		space := min(Reservation, d.cfg.FileSize)
		if err := f.Reserve(0, space, d.cfg.Grow); err == nil {
			f.Reserved = space
		} else if err != unix.EOPNOTSUPP {
			f.Remove()
			return nil, f.Error("reserve disk space for", err)
		}
	}
	return f, nil
}

// others reports whether another folder is not degraded.
func (d *Dirs) others(w *DirWriter) bool {
	for _, other := range d.all {
		if other != w && other.fault.Load() == nil {
			return true
		}
	}
	return false
}

// Fail marks a folder as degraded, and logs it if it was not.
func (d *Dirs) Fail(w *DirWriter, err error) {
	w.retry = w.tried.Add(d.retry)
	if w.fault.Load() != nil {
		return
	}
	lost, _ := d.cfg.Losses.Total()
	w.fault.Store(&fault{err: err, since: time.Now(), lost: lost})
	what := "the capture goes on, and what is not stored is counted"
	if d.others(w) {
		what = "storing goes on in the other folders"
	}
	d.cfg.Logger.Warn(fmt.Sprintf("%v; %s", err, what))
}

// Recovered ends the degraded state of a file's folder after a write to the file,
// if the file was begun in that state.
func (d *Dirs) Recovered(f *File) {
	w := f.Dir
	failed := w.fault.Load()
	if failed == nil || f.Begun.Before(failed.since) {
		return
	}
	w.fault.Store(nil)
	lost, _ := d.cfg.Losses.Total()
	d.cfg.Logger.Warn(fmt.Sprintf("%s: storing goes on after %v; %s were not stored", w.dir.path,
		time.Since(failed.since).Round(time.Millisecond), d.cfg.Text(lost.Sub(failed.lost))))
}

// LastError returns why no folder takes a file.
func (d *Dirs) LastError() error {
	for _, w := range d.all {
		if f := w.fault.Load(); f != nil {
			return f.err
		}
	}
	return errors.New("no folder to store in")
}

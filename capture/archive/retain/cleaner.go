package retain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// Config configures a Cleaner.
type Config struct {
	Dirs   []string // they need not exist
	Policy Policy

	// Every is the time between two scans of the folders; default 1 s. It is longer
	// where scans would take more than a twentieth of the time.
	Every time.Duration

	// OnEvent is called for each event, on the goroutine that scans; nil: not called.
	OnEvent func(Event)
}

// Event is a file deleted, its space reclaimed from a reader, or an error.
type Event struct {
	Path   string // file, or the folder that could not be read
	Bytes  int64
	Reason Reason // "" for a folder
	Open   bool   // deleted, but a reader has it open: its space is reclaimed after readerTimeout
	Err    error  // nil: deleted. archive.ErrBusy: the file is being written. Others: it could not be deleted

	// Reclaimed is how long a reader has kept a deleted file open, whose space is
	// reclaimed now; 0 for other events.
	Reclaimed time.Duration
}

// String returns the event in one line.
func (e Event) String() string {
	switch {
	case e.Reclaimed > 0 && e.Err == nil:
		return fmt.Sprintf("reclaimed %d bytes of %s: a reader has kept it open for %v after it was deleted", e.Bytes, e.Path, e.Reclaimed.Round(time.Second))
	case e.Err == nil && e.Open:
		return fmt.Sprintf("deleted %s, %d bytes, for %s; a reader has it open: it may read on for %v", e.Path, e.Bytes, e.Reason.text(), readerTimeout)
	case e.Err == nil:
		return fmt.Sprintf("deleted %s, %d bytes, for %s", e.Path, e.Bytes, e.Reason.text())
	case errors.Is(e.Err, archive.ErrBusy):
		return fmt.Sprintf("%s not deleted for %s: another process is writing it", e.Path, e.Reason.text())
	}
	return fmt.Sprintf("retention: %v", e.Err)
}

// Cleaner deletes the oldest files of folders, so that limits hold.
type Cleaner struct {
	cfg  Config
	wake chan struct{}

	scanning sync.Mutex // held during a scan; guards pending, unlinked, reported and unlocked
	pending  map[uint64]pendingFree
	unlinked []*unlinked       // oldest first
	unlocked bool              // the last scan could not lock all folders
	reported map[string]string // cause of the last event about each path that is still there

	mu     sync.Mutex // guards the rest
	policy Policy
	newest time.Time
	stats  Stats
}

const (
	defaultEvery = time.Second

	// maxShare is the part of the time that scans may take, as its inverse.
	maxShare = 20
)

// New makes a Cleaner.
func New(cfg Config) (*Cleaner, error) {
	if len(cfg.Dirs) == 0 {
		return nil, errors.New("retention: no folder. Name one")
	}
	if cfg.Every < 0 {
		return nil, fmt.Errorf("retention: scan every %v: must not be negative. Choose a time, or 0 for %v", cfg.Every, defaultEvery)
	}
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	k := &Cleaner{cfg: cfg, wake: make(chan struct{}, 1), pending: map[uint64]pendingFree{}, reported: map[string]string{}}
	return k, k.Set(cfg.Policy)
}

// Set changes the limits, and makes Run scan soon.
func (k *Cleaner) Set(p Policy) error {
	if err := p.Check(k.cfg.Dirs...); err != nil {
		return err
	}
	k.mu.Lock()
	k.policy = p
	k.mu.Unlock()
	k.wakeUp()
	return nil
}

// Closed says that a file got its final name, and makes Run scan soon. It does not
// wait.
func (k *Cleaner) Closed(path string) {
	if n, ours := archive.ParseStored(filepath.Base(path)); ours {
		k.mu.Lock()
		if n.First.After(k.newest) {
			k.newest = n.First
		}
		k.mu.Unlock()
	}
	k.wakeUp()
}

func (k *Cleaner) wakeUp() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run scans until ctx is done, which is no error: at once, after Set and Closed,
// and after Config.Every.
func (k *Cleaner) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		start := time.Now()
		pause := maxShare * k.clean(ctx)
		next := time.NewTimer(max(k.cfg.Every, pause))
		select {
		case <-ctx.Done():
		case <-next.C:
		case <-k.wake:
			rest := time.NewTimer(pause - time.Since(start))
			select {
			case <-ctx.Done():
			case <-rest.C:
			}
			rest.Stop()
		}
		next.Stop()
	}
	return nil
}

// Clean scans once, and deletes what exceeds the limits. What cannot be deleted is
// an event, is counted, and is tried again by the next scan.
func (k *Cleaner) Clean(ctx context.Context) { k.clean(ctx) }

// clean is Clean. It returns how long it took, without the wait for locks.
func (k *Cleaner) clean(ctx context.Context) (took time.Duration) {
	k.scanning.Lock()
	defer k.scanning.Unlock()
	k.mu.Lock()
	p, newest := k.policy, k.newest
	k.mu.Unlock()
	s := &scan{cleaner: k, reported: map[string]string{}, sums: map[uint64]int64{}, freed: map[uint64]int64{}}
	s.reclaim(p, time.Now())
	if !p.limits() {
		return 0
	}
	defer s.lock(ctx)()
	began := time.Now()
	l := list(k.cfg.Dirs, func(dir string, err error) { s.emit(Event{Path: dir, Err: err}) })
	l.Newest = newest
	l.markWritten()
	for fs, space := range l.Spaces {
		if p.Free >= space.Size {
			s.emit(Event{Path: fmt.Sprint(fs), Err: tooMuch(p.Free, space.Size, k.dirOn(fs))})
		}
	}
	k.addPending(&l, p, l.Now)
	for fs, space := range l.Spaces {
		s.sums[fs] = space.Free + l.ours(fs)
	}
	for s.delete(ctx, &l, p) {
	}
	for fs, n := range s.freed {
		k.expect(fs, s.sums[fs], n, l.Now)
	}
	k.reported = s.reported
	k.mu.Lock()
	k.stats.setKept(&l)
	k.stats.setOpen(k.unlinked)
	k.mu.Unlock()
	return time.Since(began)
}

// scan is one run of Clean.
type scan struct {
	cleaner     *Cleaner
	reported    map[string]string // as Cleaner.reported, of this scan
	sums, freed map[uint64]int64  // by file system: bytes free or ours before; bytes deleted
}

// delete deletes what the limits require. It returns true if it must be called
// again, for files that take the place of those that could not be deleted.
func (s *scan) delete(ctx context.Context, l *Listing, p Policy) (again bool) {
	gone, left := map[string]bool{}, map[string]bool{}
	for _, r := range Plan(*l, p) {
		if ctx.Err() != nil {
			break
		}
		open, err := remove(&r.File)
		if open != nil {
			s.cleaner.unlinked = append(s.cleaner.unlinked, open)
		}
		var rest *leftover
		switch {
		case err == nil, errors.As(err, &rest):
			s.cleaner.countRemoved(&r)
			s.emit(Event{Path: r.Path, Bytes: r.Bytes, Reason: r.Reason, Open: open != nil})
			if rest != nil {
				s.emit(Event{Path: r.Path, Reason: r.Reason, Err: rest.error})
			}
			fallthrough
		case errors.Is(err, fs.ErrNotExist): // another program deleted it
			gone[r.Path] = true
			s.freed[r.FS] += r.Frees
		default:
			s.emit(Event{Path: r.Path, Bytes: r.Bytes, Reason: r.Reason, Err: err})
			left[r.Path] = true
		}
	}
	l.update(gone, left)
	return len(left) > 0 && ctx.Err() == nil
}

// dirOn returns a folder on a file system.
func (k *Cleaner) dirOn(fs uint64) string {
	for _, dir := range k.cfg.Dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && uint64(st.Dev) == fs {
			return dir
		}
	}
	return ""
}

// lock locks the folders against other cleaners, and reports where that fails.
func (s *scan) lock(ctx context.Context) (unlock func()) {
	k := s.cleaner
	limit := lockTimeout
	if k.unlocked {
		limit = 0 // the lock is tried, but not waited for again
	}
	unlock, failed := lockDirs(ctx, k.cfg.Dirs, limit)
	k.unlocked = len(failed) > 0
	for _, dir := range failed {
		s.emit(Event{Path: dir, Err: fmt.Errorf("%s is scanned without its lock: %w", dir, errLocked)})
	}
	return unlock
}

// update removes the files that are gone, and marks those that are left.
func (l *Listing) update(gone, left map[string]bool) {
	l.Files = slices.DeleteFunc(l.Files, func(f File) bool {
		if gone[f.Path] {
			s := l.Spaces[f.FS]
			s.Free += f.Frees
			l.Spaces[f.FS] = s
		}
		return gone[f.Path]
	})
	for i := range l.Files {
		l.Files[i].Left = l.Files[i].Left || left[l.Files[i].Path]
	}
}

// emit calls OnEvent and counts the errors. An error is repeated only if its cause
// changes.
func (s *scan) emit(e Event) {
	k := s.cleaner
	if e.Err != nil {
		why := cause(e.Err)
		before, known := k.reported[e.Path]
		if now, twice := s.reported[e.Path]; twice {
			before, known = now, true
		}
		s.reported[e.Path] = why
		if known && before == why {
			return
		}
		k.mu.Lock()
		k.stats.addError(why)
		k.mu.Unlock()
	}
	if k.cfg.OnEvent != nil {
		k.cfg.OnEvent(e)
	}
}

func (k *Cleaner) countRemoved(r *Removal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats.addRemoved(r)
}

func (k *Cleaner) countReclaimed(u *unlinked) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats.Reclaimed.add(u.bytes)
}

// Stats returns the counters. Any goroutine may call it.
func (k *Cleaner) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	s.Removed, s.Failed = maps.Clone(s.Removed), maps.Clone(s.Failed)
	return s
}

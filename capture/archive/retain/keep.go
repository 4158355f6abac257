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

// Config says what a Keeper looks after.
type Config struct {
	Dirs   []string // some may not exist yet, or for a while
	Policy Policy

	// Every is how often Run looks at least; default 1 s. It looks less often where
	// looking would take more than a twentieth of the time.
	Every time.Duration

	// Told is called, when set, with what became of a file. It runs on the goroutine
	// that looks.
	Told func(Event)
}

// Event is what became of a file.
type Event struct {
	Path   string // file, or the folder that could not be read
	Bytes  int64
	Reason Reason // "" for a folder
	Err    error  // nil: it is deleted. archive.ErrBusy: it is spared. Others: it could not be deleted
}

// String is the event in one line.
func (e Event) String() string {
	switch {
	case e.Err == nil:
		return fmt.Sprintf("deleted %s, %d bytes, for %s", e.Path, e.Bytes, e.Reason)
	case errors.Is(e.Err, archive.ErrBusy):
		return fmt.Sprintf("%s spared, which should go for %s: somebody else is reading or writing it", e.Path, e.Reason)
	}
	return fmt.Sprintf("retention: %v", e.Err)
}

// Keeper keeps folders within limits.
type Keeper struct {
	cfg  Config
	wake chan struct{}

	looking sync.Mutex // guards what follows, and is held while a look lasts
	owed    map[uint64]owed
	told    map[string]string // per path: why it is still there

	mu     sync.Mutex // guards what follows
	policy Policy
	newest time.Time
	stats  Stats
}

const (
	defaultEvery = time.Second

	// share is the part of the time that looking may take, as its inverse.
	share = 20
)

// New makes a Keeper.
func New(cfg Config) (*Keeper, error) {
	if len(cfg.Dirs) == 0 {
		return nil, errors.New("retain: no folder: name one")
	}
	if cfg.Every < 0 {
		return nil, fmt.Errorf("retain: look every %v: choose a time, or 0 for every %v", cfg.Every, defaultEvery)
	}
	if cfg.Every == 0 {
		cfg.Every = defaultEvery
	}
	k := &Keeper{cfg: cfg, wake: make(chan struct{}, 1), owed: map[uint64]owed{}, told: map[string]string{}}
	return k, k.Set(cfg.Policy)
}

// Set changes the limits; they hold from the next look on, which it brings about.
func (k *Keeper) Set(p Policy) error {
	if err := p.Check(k.cfg.Dirs...); err != nil {
		return err
	}
	k.mu.Lock()
	k.policy = p
	k.mu.Unlock()
	k.look()
	return nil
}

// Closed tells that a file got its final name: Run looks soon. It never waits.
func (k *Keeper) Closed(path string) {
	if n, ours := archive.ParseStored(filepath.Base(path)); ours {
		k.mu.Lock()
		if n.First.After(k.newest) {
			k.newest = n.First
		}
		k.mu.Unlock()
	}
	k.look()
}

func (k *Keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run looks until ctx is done, which is no error: at once, when a file was
// closed, and every so often.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		start := time.Now()
		k.Keep(ctx)
		pause := share * time.Since(start)
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

// Keep looks once, and deletes what has to go. What could not be deleted is told
// and counted, and tried again the next time.
func (k *Keeper) Keep(ctx context.Context) {
	k.looking.Lock()
	defer k.looking.Unlock()
	k.mu.Lock()
	p, newest := k.policy, k.newest
	k.mu.Unlock()
	if !p.limits() {
		return
	}
	defer turn(ctx, k.cfg.Dirs)()
	still := map[string]string{} // what is told of now; the rest may be told anew
	l := list(k.cfg.Dirs, func(dir string, err error) { k.tell(still, Event{Path: dir, Err: err}) })
	l.Newest = newest
	for fs, s := range l.Spaces {
		if p.Free >= s.Size {
			k.tell(still, Event{Path: fmt.Sprint(fs), Err: tooMuch(p.Free, s.Size, k.dirOn(fs))})
		}
	}
	k.coming(&l, p, l.Now)
	sums, freed := map[uint64]int64{}, map[uint64]int64{}
	for fs, s := range l.Spaces {
		sums[fs] = s.Free + l.ours(fs)
	}
	for again := true; again && ctx.Err() == nil; {
		again = false
		gone, left := map[string]bool{}, map[string]bool{}
		for _, r := range Plan(l, p) {
			if ctx.Err() != nil {
				break
			}
			err := remove(&r.File)
			var rest *leftover
			switch {
			case err == nil, errors.As(err, &rest):
				k.account(&r)
				k.tell(still, Event{Path: r.Path, Bytes: r.Bytes, Reason: r.Reason})
				if rest != nil {
					k.tell(still, Event{Path: r.Path, Reason: r.Reason, Err: rest.error})
				}
				fallthrough
			case errors.Is(err, fs.ErrNotExist): // somebody else deleted it
				gone[r.Path] = true
				freed[r.FS] += r.Frees
			default:
				k.tell(still, Event{Path: r.Path, Bytes: r.Bytes, Reason: r.Reason, Err: err})
				left[r.Path] = true
				again = true
			}
		}
		l.settle(gone, left)
	}
	for fs, n := range freed {
		k.owe(fs, sums[fs], n, l.Now)
	}
	k.told = still
	k.mu.Lock()
	k.stats.kept(&l)
	k.mu.Unlock()
}

// dirOn is a folder on a file system.
func (k *Keeper) dirOn(fs uint64) string {
	for _, dir := range k.cfg.Dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && uint64(st.Dev) == fs {
			return dir
		}
	}
	return ""
}

// settle takes the files that are gone off the list, and marks those that stay.
func (l *Listing) settle(gone, left map[string]bool) {
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

// tell reports an event, and counts one about something that stays: once for as
// long as it stays for the same reason.
func (k *Keeper) tell(still map[string]string, e Event) {
	if e.Err != nil {
		why := cause(e.Err)
		before, known := k.told[e.Path]
		if now, twice := still[e.Path]; twice {
			before, known = now, true
		}
		still[e.Path] = why
		if known && before == why {
			return
		}
		k.mu.Lock()
		k.stats.stays(why)
		k.mu.Unlock()
	}
	if k.cfg.Told != nil {
		k.cfg.Told(e)
	}
}

func (k *Keeper) account(r *Removal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats.removed(r)
}

// Stats may be called from any goroutine.
func (k *Keeper) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stats
	s.Removed, s.Failed = maps.Clone(s.Removed), maps.Clone(s.Failed)
	return s
}

package pcapstore

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/archive/store"
)

// lane is one folder of a Storer. But for its counters it is the writer's.
type lane struct {
	dir     *store.Dir
	files   atomic.Int64
	wrote   atomic.Uint64
	clock   store.Clock
	failing atomic.Pointer[trouble] // nil: none

	retry time.Time // while failing: not before
}

// trouble is why nothing can be stored in a folder for the moment.
type trouble struct {
	err   error
	since time.Time
	lost  Count // what the Storer had lost until then
}

// ready tells whether a file may be begun.
func (l *lane) ready(now time.Time) bool { return l.failing.Load() == nil || !now.Before(l.retry) }

// trouble notes that nothing can be stored in a folder for the moment, and tells
// once.
func (w *writer) trouble(l *lane, err error) {
	l.retry = time.Now().Add(w.s.again)
	if l.failing.Load() != nil {
		return
	}
	lost, _ := w.s.stat.lost()
	l.failing.Store(&trouble{err: err, since: time.Now(), lost: lost})
	what := "the capture goes on, and what is not stored is counted"
	for _, other := range w.s.lanes {
		if other.failing.Load() == nil {
			what = "storing goes on in the other folders"
		}
	}
	w.warn("%v; %s", err, what)
}

// works notes that packets were written to a folder.
func (w *writer) works(l *lane) {
	t := l.failing.Load()
	if t == nil {
		return
	}
	l.failing.Store(nil)
	lost, _ := w.s.stat.lost()
	w.warn("%s: storing goes on after %v; %d packets were not stored", l.dir.Path(),
		time.Since(t.since).Round(time.Millisecond), lost.Packets-t.lost.Packets)
}

// excuse is why no folder takes a file.
func (w *writer) excuse() error {
	for _, l := range w.s.lanes {
		if t := l.failing.Load(); t != nil {
			return t.err
		}
	}
	return errors.New("no folder to store in")
}

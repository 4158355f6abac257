package store

import (
	"errors"
	"fmt"
	"time"
)

// A folder is in trouble from the first failure there until a block is written to
// a file that was begun afterwards. A file that fails ends; what comes up to the
// next segment is dropped, unless another file is open by then. A segment is asked
// for as soon as a folder may be tried.

// report is what a keeper found wrong.
type report struct {
	f   *file
	err error
}

// report tells the Storer's goroutine, from any other.
func (s *Storer) report(f *file, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, report{f, err})
}

// hear takes in what keepers report.
func (s *Storer) hear() {
	s.mu.Lock()
	all := s.reports
	s.reports = nil
	s.mu.Unlock()
	for _, r := range all {
		if s.broken == nil {
			s.broken = r.err
		}
		if r.f.closed {
			s.trouble(r.f.lane, r.err)
		} else {
			s.fileFails(r.f, r.err)
			s.settle(r.f)
		}
	}
}

// fileFails ends a file at what was written of it without a gap.
func (s *Storer) fileFails(f *file, err error) {
	if f.failure != nil {
		return
	}
	f.failure = err
	f.failed.Store(true)
	s.trouble(f.lane, err)
	if s.file == f {
		s.file = nil
		s.drop(err)
	}
}

// trouble notes that nothing can be stored in a folder for the moment, and tells
// once.
func (s *Storer) trouble(l *lane, err error) {
	l.retry = l.tried.Add(s.retry)
	if l.failing.Load() != nil {
		return
	}
	lost, _ := s.lost()
	l.failing.Store(&trouble{err: err, since: time.Now(), lost: lost})
	what := "the capture goes on, and what is not stored is counted"
	for _, other := range s.lanes {
		if other.failing.Load() == nil {
			what = "storing goes on in the other folders"
		}
	}
	s.warn("%v; %s", err, what)
}

// works notes that a block of a file was written.
func (s *Storer) works(f *file) {
	t := f.lane.failing.Load()
	if t == nil || f.begun.Before(t.since) {
		return
	}
	f.lane.failing.Store(nil)
	lost, _ := s.lost()
	s.warn("%s: storing goes on after %v; %d bytes were not stored", f.lane.dir.path,
		time.Since(t.since).Round(time.Millisecond), lost-t.lost)
}

func (s *Storer) warn(format string, args ...any) {
	if s.cfg.Logger != nil {
		s.cfg.Logger.Warn(fmt.Sprintf(format, args...))
	}
}

// drop has what comes not stored until the next segment.
func (s *Storer) drop(why error) {
	s.dropping = why
	s.stat.failing.Store(true)
}

// excuse is why no folder takes a file.
func (s *Storer) excuse() error {
	for _, l := range s.lanes {
		if t := l.failing.Load(); t != nil {
			return t.err
		}
	}
	return errors.New("no folder to store in")
}

// ask asks for a segment when something is dropped that need not be.
func (s *Storer) ask() {
	if s.dropping == nil || s.asked || s.fresh || s.cfg.Rotate == nil {
		return
	}
	now := time.Now()
	for _, l := range s.lanes {
		if l.ready(now) {
			s.asked = true
			s.cfg.Rotate()
			return
		}
	}
}

// patience is how long to wait for a block when there is nothing else to do.
func (s *Storer) patience() time.Duration {
	p := s.cfg.Flush
	if s.dropping != nil {
		p = min(p, s.retry/4)
	}
	return p
}

// skipping decides which files get their sidecar as they are written. One that
// could not be kept up with has the next ones left alone, more each time: an index
// that is begun and given up again and again costs time and gives nothing.
type skipping struct {
	left, next int
}

const skipMost = 64

// index tells whether the next file is to be indexed.
func (k *skipping) index() bool {
	if k.left > 0 {
		k.left--
		return false
	}
	return true
}

// ended takes in what became of a file that was.
func (k *skipping) ended(givenUp bool) {
	if !givenUp {
		k.next = 0
		return
	}
	k.next = min(max(2*k.next, 1), skipMost)
	k.left = k.next
}

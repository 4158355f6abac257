package rawstore

// A file that fails ends. Blocks up to the next segment are dropped, unless another
// file is open by then. A segment is requested as soon as a folder may be tried.

// fault is an error of a finalizer.
type fault struct {
	f   *file
	err error
}

// addFault passes an error to the Storer's goroutine. Any goroutine may call it.
func (s *Storer) addFault(f *file, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fault{f, err})
}

// takeFaults handles the errors of finalizers.
func (s *Storer) takeFaults() {
	s.mu.Lock()
	all := s.faults
	s.faults = nil
	s.mu.Unlock()
	for _, r := range all {
		if s.broken == nil {
			s.broken = r.err
		}
		if r.f.closed {
			s.dirs.Fail(r.f.Dir, r.err)
		} else {
			s.failFile(r.f, r.err)
			s.closeIfDone(r.f)
		}
	}
}

// failFile ends a file at its first gap.
func (s *Storer) failFile(f *file, err error) {
	if f.failure != nil {
		return
	}
	f.failure = err
	f.failed.Store(true)
	s.dirs.Fail(f.Dir, err)
	if s.file == f || s.fresh { // no other file was begun
		s.file = nil
		s.drop(err)
	}
}

// drop makes the storer drop blocks until the next segment.
func (s *Storer) drop(why error) {
	s.dropping = why
	s.stat.failing.Store(true)
}

// requestSegment requests a segment while blocks are dropped and a folder is ready.
func (s *Storer) requestSegment() {
	if s.dropping != nil && !s.requested && !s.fresh && s.dirs.Ready() {
		s.requested = true
		s.cfg.Rotate()
	}
}

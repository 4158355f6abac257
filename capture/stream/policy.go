package stream

import (
	"errors"
	"fmt"
	"time"
)

// grace is how long a listener that is to become lossy may go on reading in
// place without having answered. One that is waiting for frames answers within a
// nap; one that hangs is the reason why somebody makes it lossy.
const grace = time.Second

var errDetachLossy = errors.New("detach-after is for lossless listeners; a lossy one holds nobody back")

// SetPolicy changes how an attached listener is treated, while it reads.
//
// A lossless listener may be using frames where they lie. When it is to become
// lossy, its word in cursors.Wanted says so; it answers (cursor.Mode) at its next
// reading call, from which on it copies and checks. The producer goes on
// respecting it until it has answered, or for a second. One that did not answer
// in time and was overtaken finds that out at its next call: what it held counts
// as overtaken, and the call returns ErrOverrun.
//
// A lossy listener that is to become lossless is respected at once, and told
// after that. Having been told, it looks at the announcement (ReserveOffset). The
// producer announces first and then looks whom to respect. All four are
// sequentially consistent, so either the producer's look sees that it has to
// respect the listener, or the listener sees the announcement; then it skips
// ahead of it, as lossy listeners do, and looks again. Once it sees no
// announcement beyond its place, every later one respects it, and it reads in
// place. See also Stream.admit.
//
// The producer neither waits nor takes a lock for either.
func (s *Stream) SetPolicy(id uint64, p Policy, detachAfter time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.find(id)
	switch {
	case err != nil:
	case p > Lossy:
		err = fmt.Errorf("unknown policy %d", p)
	case detachAfter < 0:
		err = fmt.Errorf("detach after %v: choose 0 or more", detachAfter)
	case detachAfter > 0 && p != Lossless:
		err = errDetachLossy
	}
	if err != nil {
		return fmt.Errorf("set policy: %w", err)
	}
	sl.detachAfter = detachAfter
	sl.progress = progress{}
	if p != sl.policy {
		sl.policy = p
		sl.word = (sl.word>>1+1)<<1 | uint64(p)
		if p == Lossless {
			sl.deadline = time.Time{}
			sl.respect.Store(1)
		} else {
			sl.deadline = time.Now().Add(grace)
		}
		s.view.cursors.Wanted[sl.number].Store(sl.word)
	}
	if !sl.deadline.IsZero() || detachAfter > 0 {
		s.keepHouse()
	}
	return nil
}

// progress is how far a listener was when it was seen to move last.
type progress struct {
	given position
	at    time.Time
}

// keepHouse starts the housekeeper or makes it look at once. Under mu.
func (s *Stream) keepHouse() {
	if s.keeping {
		s.wakeHousekeeper()
		return
	}
	s.keeping = true
	go s.housekeep()
}

func (s *Stream) wakeHousekeeper() {
	select {
	case s.hurry <- struct{}{}:
	default:
	}
}

// housekeep does what takes time or a lock, in the producer's place, as long as
// there is a listener that needs it.
func (s *Stream) housekeep() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.hurry:
		}
		s.mu.Lock()
		next := s.tidy(time.Now())
		s.keeping = next != 0
		s.mu.Unlock()
		if next == 0 {
			return
		}
		t.Reset(next)
	}
}

const (
	ackLook  = time.Millisecond       // while a change of policy waits for its answer
	peerLook = 250 * time.Millisecond // while there are listeners of other processes
)

// tidy looks after all listeners and returns when to look again; 0: never.
func (s *Stream) tidy(now time.Time) (next time.Duration) {
	if s.closed {
		return 0
	}
	s.reap()
	again := func(d time.Duration) {
		if d = max(d, ackLook); next == 0 || d < next {
			next = d
		}
	}
	for _, sl := range s.attached {
		if sl == nil {
			continue
		}
		if sl.peer != nil {
			if !s.look(sl) {
				s.end(sl, whyImpossible)
				continue
			}
			again(peerLook)
		}
		if !sl.deadline.IsZero() {
			if sl.cursor.Mode.Load() == sl.word || !now.Before(sl.deadline) {
				sl.respect.Store(0)
				sl.deadline = time.Time{}
			} else {
				again(ackLook)
			}
		}
		if sl.policy == Lossless && sl.detachAfter > 0 {
			idle := s.idle(sl, now)
			if idle >= sl.detachAfter {
				s.end(sl, fmt.Sprintf("read nothing for %v", sl.detachAfter))
				continue
			}
			again(min(sl.detachAfter-idle, peerLook))
		}
	}
	return next
}

// idle is for how long a listener has given nothing back though frames wait for
// it. Frames that it has seen all of don't wait: a reader of bytes may be waiting
// for its block to fill. Unless what it holds is in the producer's way.
func (s *Stream) idle(sl *slot, now time.Time) time.Duration {
	given := position{sl.cursor.Offset.Load(), sl.cursor.Seq.Load()}
	head := s.published()
	waiting := given.seq < head.seq || given.offset+uint64(s.config.Size) < head.offset+MaxRecord
	if !waiting || given != sl.progress.given || sl.progress.at.IsZero() {
		sl.progress = progress{given, now}
	}
	return now.Sub(sl.progress.at)
}

// renew looks whether the listener is to read in another way from now on, and
// answers. ErrOverrun: what it had in hand is void.
func (l *Listener) renew() error {
	// Pairs with SetPolicy: what was stored before the word is seen, and the
	// announcements made before it, too.
	w := l.cur.Wanted[l.number].Load()
	if w == l.mode.Load() {
		return nil
	}
	if l.lossy && l.blocks.n == 0 {
		l.release() // copies, good whatever happens
	}
	var err error
	if l.overtaken(l.given) && l.given != l.ahead {
		// In place, and overtaken after the grace; or the blocks of a lossy listener.
		err = ErrOverrun
		l.skip()
	}
	l.beLossy()
	if Policy(w&1) == Lossless {
		if l.overtaken(l.given) && !l.skip() {
			return err // the next call tries again
		}
		l.lossy = false
	}
	l.mode.Store(w)
	l.account.Mode.Store(w)
	return err
}

// beLossy makes the listener copy and check what it reads.
func (l *Listener) beLossy() {
	if l.scratch == nil {
		l.scratch = make([]byte, 4*MaxRecord)
	}
	l.lossy = true
}

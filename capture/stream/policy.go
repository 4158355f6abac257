package stream

import (
	"errors"
	"fmt"
	"time"
)

// ackTimeout is how long the producer spares a listener that is to become lossy and
// has not acknowledged it. A listener that waits for frames acknowledges within a
// millisecond.
const ackTimeout = time.Second

var errDetachLossy = errors.New("detach-after is for lossless listeners: a lossy one holds nothing back")

// SetPolicy changes the policy of an attached listener while it reads. detachAfter
// is as in Options. The producer neither waits nor takes a lock for it.
//
// To lossy: the listener may be using frames in place. SetPolicy stores the request
// in cursors.Wanted. The listener acknowledges it (cursor.Mode) at its next reading
// call and copies and checks from then on. The producer spares what the listener
// holds until then, or for a second. If the listener acknowledges later and was
// overrun, that call returns ErrOverrun and what it held counts as overrun.
//
// To lossless, SC3: SetPolicy stores attachment.lossless and then Wanted; the
// listener loads Wanted and then the announcement (updatePolicy). The producer
// stores the announcement and then loads attachment.lossless (announce,
// scanListeners). All are sequentially consistent, so at least one side sees the
// other: either the producer spares the listener, or the listener sees the
// announcement, skips ahead of it as a lossy listener does, and checks again. Once
// it sees no announcement beyond its position, all later ones spare it, and it
// reads in place.
func (s *Stream) SetPolicy(id uint64, p Policy, detachAfter time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	att, err := s.find(id)
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
	att.detachAfter = detachAfter
	att.progress = progress{}
	if p != att.policy {
		att.policy = p
		att.wanted = (att.wanted>>1+1)<<1 | uint64(p)
		if p == Lossless {
			att.ackDeadline = time.Time{}
			att.lossless.Store(1)
		} else {
			att.ackDeadline = time.Now().Add(ackTimeout)
		}
		s.view.cursors.Wanted[att.slot].Store(att.wanted)
		s.notifier.wakeListener(att.slot)
	}
	if !att.ackDeadline.IsZero() || detachAfter > 0 {
		s.startHousekeeper()
	}
	return nil
}

// progress is what a listener had released at the last change, and when that was.
type progress struct {
	released position
	at       time.Time
}

// startHousekeeper starts the housekeeper or wakes it. It is called under mu.
func (s *Stream) startHousekeeper() {
	if s.housekeeping {
		s.wakeHousekeeper()
		return
	}
	s.housekeeping = true
	go s.housekeep()
}

func (s *Stream) wakeHousekeeper() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// housekeep sweeps the listeners as long as one of them needs it.
func (s *Stream) housekeep() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.wake:
		}
		s.mu.Lock()
		next := s.sweep(time.Now())
		s.housekeeping = next != 0
		s.mu.Unlock()
		if next == 0 {
			return
		}
		t.Reset(next)
	}
}

const (
	ackInterval  = time.Millisecond       // while a change of policy is not acknowledged
	peerInterval = 250 * time.Millisecond // while listeners of other processes are attached
)

// sweep detaches listeners with corrupt cursors or without progress and ends changes
// of policy. It returns the time to the next sweep; 0: none is needed.
func (s *Stream) sweep(now time.Time) (next time.Duration) {
	if s.closed {
		return 0
	}
	s.collect()
	again := func(d time.Duration) {
		if d = max(d, ackInterval); next == 0 || d < next {
			next = d
		}
	}
	if d := s.sweepGroups(now); d > 0 {
		again(d)
	}
	for _, att := range s.attached {
		if att == nil {
			continue
		}
		if att.peer != nil {
			if !s.readAccount(att) {
				s.detach(att, reasonCorrupt)
				continue
			}
			again(peerInterval)
		}
		if !att.ackDeadline.IsZero() {
			// A7, pairs with R7 in updatePolicy: from here on the listener copies.
			if att.cursor.Mode.Load() == att.wanted || !now.Before(att.ackDeadline) {
				att.lossless.Store(0)
				att.ackDeadline = time.Time{}
			} else {
				again(ackInterval)
			}
		}
		if att.policy == Lossless && att.detachAfter > 0 {
			idle := s.idle(att, now)
			if idle >= att.detachAfter {
				s.detach(att, fmt.Sprintf("read nothing for %v", att.detachAfter))
				again(ackInterval) // for what a member leaves
				continue
			}
			again(min(att.detachAfter-idle, peerInterval))
		}
	}
	return next
}

// idle returns for how long a listener has released nothing while frames waited for
// it. A reader of bytes that has seen all frames may be waiting for its block to
// fill; that counts only if what it holds is in the producer's way.
func (s *Stream) idle(att *attachment, now time.Time) time.Duration {
	released := position{att.cursor.Offset.Load(), att.cursor.Seq.Load()}
	head := s.published()
	waiting := released.seq < head.seq || s.config.Pool == nil && released.offset+uint64(s.config.Size) < head.offset+MaxRecord
	if !waiting || released != att.progress.released || att.progress.at.IsZero() {
		att.progress = progress{released, now}
	}
	return now.Sub(att.progress.at)
}

// updatePolicy applies and acknowledges a change of policy, if there is one. It
// returns ErrOverrun if the packets or blocks returned before are void.
func (l *Listener) updatePolicy() error {
	// SC3: Wanted first, then the announcement. See SetPolicy.
	w := l.cur.Wanted[l.slot].Load()
	if w == l.mode.Load() {
		return nil
	}
	if l.lossy && l.blocks.n == 0 {
		l.release() // copies, valid in any case
	}
	var err error
	if l.overwritten(l.kept()) && l.released != l.next {
		// In place and overwritten after ackTimeout, or blocks of a lossy listener.
		err = ErrOverrun
		l.skipAhead()
	}
	l.setLossy()
	if Policy(w&1) == Lossless {
		if l.overwritten(l.kept()) {
			if l.released != l.next {
				err = ErrOverrun // since the check above
			}
			if !l.skipAhead() {
				return err // the next call tries again
			}
		}
		l.lossy = false
	}
	l.mode.Store(w)
	l.account.Mode.Store(w) // R7: nothing is used in place any more; pairs with A7 in sweep
	return err
}

// setLossy makes the listener copy and check what it reads.
func (l *Listener) setLossy() {
	if l.scratch == nil {
		l.scratch = make([]byte, 4*MaxRecord)
	}
	l.lossy = true
}

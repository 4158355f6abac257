package stream

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

const (
	// MaxName is the longest name of a listener in bytes.
	MaxName = 200

	keptDeparted = 64 // accounts of listeners that left
)

// slot is the stream's side of a listener, in this process or in another.
type slot struct {
	// What the producer looks at, together.
	cursor      *cursor // the stream's mapping of the listener's page
	respect     atomic.Uint32
	offset, seq uint64 // what it saw last; it alone touches them while the slot is active
	_           [96]byte

	// Set by attach.
	id          uint64
	number      int
	name        string
	pid, uid    int
	since       time.Time
	page        *hugepage.Memory
	mayMove     bool          // it looks for an aligned start: its beginning is not settled
	peer        *peer         // nil for a listener in this process
	searching   bool          // no aligned start was there when it attached
	began       position      // where it was put
	policy      Policy        // wanted; here and below under Stream.mu
	word        uint64        // policy and count of changes, as in cursors.Wanted
	deadline    time.Time     // a change to lossy holds from then on without an answer; zero: none is under way
	detachAfter time.Duration //
	last        account       // the last that was possible
	progress    progress      //
	final       *ListenerStats
}

// request is what somebody who wants to listen asks for.
type request struct {
	name     string
	options  Options
	pid, uid int
	peer     *peer
}

func (r *request) check() error {
	o := &r.options
	switch {
	case o.Policy > Lossy || o.Start > FromOldest:
		return fmt.Errorf("unknown policy or start (%d, %d)", o.Policy, o.Start)
	case len(r.name) > MaxName:
		return fmt.Errorf("a name of %d bytes: choose at most %d", len(r.name), MaxName)
	case o.DetachAfter < 0:
		return fmt.Errorf("detach after %v: choose 0 or more", o.DetachAfter)
	case o.DetachAfter > 0 && o.Policy != Lossless:
		return errDetachLossy
	}
	for _, c := range r.name {
		if !unicode.IsPrint(c) { // it is shown on terminals
			return fmt.Errorf("name %q: choose one of printable characters", r.name)
		}
	}
	return nil
}

// attach makes a slot for a listener and puts it into its place. It may be called
// at any time, before the first frame or while the producer runs, which does not
// notice.
func (s *Stream) attach(r request) (_ *slot, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("stream is closed")
	}
	s.reap()
	number := 0
	for number < MaxListeners && s.attached[number] != nil {
		number++
	}
	if number == MaxListeners {
		return nil, fmt.Errorf("%d listeners are attached already; close or detach one", MaxListeners)
	}
	page, err := newCursor("ixcap-cursor-" + r.name)
	if err != nil {
		return nil, err
	}
	s.generation++
	sl := &slot{
		cursor: viewCursor(page.Bytes()), page: page, id: s.generation, number: number,
		name: r.name, pid: r.pid, uid: r.uid, peer: r.peer, since: time.Now(),
		policy: r.options.Policy, word: uint64(r.options.Policy), detachAfter: r.options.DetachAfter,
	}
	if sl.policy == Lossless {
		sl.respect.Store(1)
	}
	s.admit(sl, r.options)
	s.attached[number] = sl
	if sl.detachAfter > 0 || sl.peer != nil {
		s.keepHouse()
	}
	return sl, nil
}

// admit gives a listener its place in the stream and its slot. The producer
// neither waits nor helps: it announces (ReserveOffset) and then looks at the
// slots, here the slot is taken and then the announcement looked at. All four are
// sequentially consistent, so at least one sees the other: either the producer
// respects the listener's start from its next announcement on, or it is seen here
// that the start is about to be overwritten, and the listener moves ahead.
func (s *Stream) admit(sl *slot, o Options) {
	v, from, margin := s.reader(), o.Start, uint64(0)
	for {
		at := v.newest()
		if from == FromOldest {
			at = v.oldest(margin)
		}
		s.put(sl, at)
		sl.offset, sl.seq = at.offset, at.seq
		s.view.cursors.Wanted[sl.number].Store(sl.word)
		s.view.cursors.Slots[sl.number].Store(sl.id)
		s.slots[sl.number].Store(sl)
		s.active.Or(1 << sl.number)
		if !v.overtaken(at) {
			break
		}
		// Take the slot back and try again further ahead.
		s.withdraw(sl)
		if from == FromOldest {
			margin += (v.mask + 1) / 8
			if margin > v.mask {
				from = FromNow
			}
		}
	}
	if !o.Aligned {
		return
	}
	// What lies before the start is not for it, and the producer may need the
	// room to close the segment.
	at, found := v.firstStart(sl.began)
	s.put(sl, at)
	if !found {
		sl.searching, sl.mayMove = true, true
		s.align.Add(1)
	}
}

// put writes a position into a listener's page before the listener has it.
func (s *Stream) put(sl *slot, at position) {
	sl.began = at
	sl.last = account{start: at, position: at}
	sl.cursor.Generation.Store(sl.id)
	sl.cursor.Mode.Store(sl.word)
	sl.cursor.write(&sl.last, at.seq)
}

// withdraw empties a slot and waits until the producer has not got hold of it.
// False: the producer has done so before.
func (s *Stream) withdraw(sl *slot) bool {
	mine := s.slots[sl.number].CompareAndSwap(sl, nil)
	if mine {
		s.active.And(^uint64(1 << sl.number))
		if !s.closed {
			s.view.cursors.Slots[sl.number].Store(0)
		}
	}
	// The producer looks at slots between two steps of scans: once it has been
	// even or has moved, nobody holds what the slot held.
	for n := s.scans.Load(); n%2 == 1 && s.scans.Load() == n; {
		pause()
	}
	return mine
}

// evict lets a listener go from the producer's side, without a lock. Whoever
// takes the lock next finishes it: reap.
func (s *Stream) evict(number int, sl *slot) {
	if s.slots[number].CompareAndSwap(sl, nil) {
		s.view.cursors.Slots[number].Store(0)
		s.detached.Add(1)
		s.active.And(^uint64(1 << number))
	}
}

const (
	whyClosed     = "closed"
	whyDied       = "process exited"
	whyImpossible = "corrupt cursor"
)

// reap ends what the producer has evicted. Under mu, as all below.
func (s *Stream) reap() {
	for _, sl := range s.attached {
		if sl != nil && s.slots[sl.number].Load() != sl {
			s.end(sl, whyImpossible)
		}
	}
}

// end lets a listener go and settles its account, once.
func (s *Stream) end(sl *slot, why string) {
	if sl.final != nil {
		return
	}
	mine := s.withdraw(sl)
	st, possible := s.listenerStats(sl)
	switch {
	case !mine: // the producer was first, and has counted it
		why = whyImpossible
	case !possible || why == whyImpossible:
		s.detached.Add(1)
		why = whyImpossible
	}
	st.DetachReason = why
	sl.final = &st
	s.attached[sl.number] = nil
	s.left++
	s.departed = append(s.departed, st)
	if len(s.departed) > keptDeparted {
		s.forgotten.add(&s.departed[0])
		s.departed = append(s.departed[:0], s.departed[1:]...)
	}
	if sl.peer != nil {
		sl.peer.dismiss(why)
	}
	// It can only fail for a descriptor that somebody else has closed.
	_ = sl.page.Close()
	sl.cursor = nil
}

// find is the listener with that number, among those attached.
func (s *Stream) find(id uint64) (*slot, error) {
	if s.closed {
		return nil, fmt.Errorf("stream is closed")
	}
	s.reap()
	for _, sl := range s.attached {
		if sl != nil && sl.id == id {
			return sl, nil
		}
	}
	return nil, fmt.Errorf("no listener %d is attached", id)
}

// Detach lets a listener go, whatever it is doing; it is told why. Its place is
// free and the producer no longer waits for it.
func (s *Stream) Detach(id uint64, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl, err := s.find(id)
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	reason := "on request"
	if why != "" {
		reason += ": " + why
	}
	s.end(sl, reason)
	return nil
}

// reader is the stream's own view of itself.
func (s *Stream) reader() *view {
	return &view{
		data: s.bytes, mask: uint64(s.config.Size) - 1,
		starts: s.view.starts, index: s.view.index, cur: s.view.cursors,
	}
}

// newCursor makes the page that a listener will write. The producer makes it,
// not the listener, and forbids changing its size: a page that its owner could
// truncate would kill the producer at its next look.
func newCursor(name string) (*hugepage.Memory, error) {
	m, err := hugepage.Alloc(pageBytes, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: name})
	if err != nil {
		return nil, err
	}
	if err := seal(m, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func seal(m *hugepage.Memory, seals int) error {
	if _, err := unix.FcntlInt(uintptr(m.Fd()), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal memory: %w", err)
	}
	return nil
}

// ours is who we are, as SO_PEERCRED would tell it.
func ours() (pid, uid int) { return os.Getpid(), os.Getuid() }

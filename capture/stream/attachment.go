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

	keptDetached = 64 // final reports of detached listeners
)

// attachment is the stream's side of a listener, in this process or in another.
type attachment struct {
	// What the producer reads, together.
	cursor      *cursor // the stream's mapping of the listener's page
	lossless    atomic.Uint32
	offset, seq uint64        // what the producer read last; only it uses them while the slot is active
	held        atomic.Uint64 // ns: Producer.HeldBack
	_           [88]byte

	// Set by attach.
	id          uint64
	slot        int
	name        string
	pid, uid    int
	since       time.Time
	page        *hugepage.Memory
	startMoves  bool          // it searches for an aligned start, so its start may still change
	peer        *peer         // nil for a listener in this process
	searching   bool          // no aligned start was there when it attached
	start       position      // where it began
	policy      Policy        // requested; this and all below under Stream.mu
	wanted      uint64        // policy and count of changes, as in cursors.Wanted
	ackDeadline time.Time     // a change to lossy takes effect then even without an acknowledgement; zero: no change is pending
	detachAfter time.Duration //
	last        account       // the last consistent account
	progress    progress      //
	final       *ListenerStats
	member      *member // nil: it is in no group
	slotWord    uint64  // what its slot in cursors.Slots gets when it is detached
}

// request is a request to attach.
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
		return fmt.Errorf("name of %d bytes: choose at most %d", len(r.name), MaxName)
	case o.DetachAfter < 0:
		return fmt.Errorf("detach after %v: choose 0 or more", o.DetachAfter)
	case o.DetachAfter > 0 && o.Policy != Lossless:
		return errDetachLossy
	case o.Fanout != "":
		if _, err := o.settings(); err != nil {
			return err
		}
	}
	for _, c := range r.name {
		if !unicode.IsPrint(c) { // names are shown on terminals
			return fmt.Errorf("name %q: choose one of printable characters", r.name)
		}
	}
	return nil
}

// attach creates an attachment and claims a slot for it. It may be called at any
// time, before the first frame or while the producer runs. The producer does not
// wait for it.
func (s *Stream) attach(r request) (_ *attachment, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrStreamClosed
	}
	s.collect()
	slot := 0
	for slot < MaxListeners && (s.attached[slot] != nil || s.slots[slot].Load() != nil) { // a ghost may have it
		slot++
	}
	if slot == MaxListeners {
		return nil, fmt.Errorf("%d listeners are attached already. Close or detach one", MaxListeners)
	}
	var m *member
	if r.options.Fanout != "" {
		settings, err := r.options.settings()
		if err == nil {
			m, err = s.reserve(settings)
		}
		if err != nil {
			return nil, err
		}
	}
	page, err := newCursor("ixcap-cursor-" + r.name)
	if err != nil {
		return nil, err
	}
	s.generation++
	att := &attachment{
		cursor: viewCursor(page.Bytes()), page: page, id: s.generation, slot: slot,
		name: r.name, pid: r.pid, uid: r.uid, peer: r.peer, since: time.Now(),
		policy: r.options.Policy, wanted: uint64(r.options.Policy), detachAfter: r.options.DetachAfter,
	}
	if att.policy == Lossless {
		att.lossless.Store(1)
	}
	s.claimSlot(att, r.options)
	if m != nil {
		if err := s.join(m, att); err != nil {
			s.clearSlot(att)
			return nil, errors.Join(err, page.Close())
		}
	}
	s.attached[slot] = att
	if att.detachAfter > 0 || att.peer != nil {
		s.startHousekeeper()
	}
	return att, nil
}

// claimSlot gives a listener its start and its slot, without the producer's help.
//
// SC1: the producer stores its announcement (ReserveOffset) and then loads the
// slots (announce, scanListeners); claimSlot stores the slot and then loads the
// announcement. All four are sequentially consistent, so at least one side sees
// the other: either the producer spares the listener's start from its next
// announcement on, or claimSlot sees that the start may be overwritten and tries
// further ahead.
func (s *Stream) claimSlot(att *attachment, o Options) {
	v, from, margin := s.reader(), o.Start, uint64(0)
	for {
		at := v.newest()
		if from == FromOldest {
			at = v.oldest(margin)
		}
		s.initCursor(att, at)
		att.offset, att.seq = at.offset, at.seq
		s.view.cursors.Wanted[att.slot].Store(att.wanted)
		s.view.cursors.Slots[att.slot].Store(att.id)
		s.slots[att.slot].Store(att)
		s.active.Or(1 << att.slot)
		if !v.overwritten(at) {
			break
		}
		// Try again further ahead.
		s.clearSlot(att)
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
	// What lies before the start is of no use to it, and the producer may need
	// the room to close the segment.
	at, found := v.firstStart(att.start)
	s.initCursor(att, at)
	if !found {
		att.searching, att.startMoves = true, true
		s.align.Add(1)
		s.notifier.wakeProducer()
	}
}

// initCursor stores a position in a listener's page before the listener gets the page.
func (s *Stream) initCursor(att *attachment, at position) {
	att.start = at
	att.last = account{start: at, position: at}
	att.cursor.Generation.Store(att.id)
	att.cursor.Mode.Store(att.wanted)
	att.cursor.Claimed.Store(at.seq)
	att.cursor.Delivering.Store(at.seq)
	att.cursor.Delivered.Store(at.seq)
	att.cursor.HandoversDone.Store(s.view.cursors.Handovers.Load())
	att.cursor.write(&att.last, at.seq)
}

// clearSlot clears the slot of an attachment and waits until the producer no longer
// uses the attachment. It returns false if the producer had cleared the slot.
func (s *Stream) clearSlot(att *attachment) bool {
	cleared := s.slots[att.slot].CompareAndSwap(att, nil)
	if cleared {
		s.active.And(^uint64(1 << att.slot))
		if !s.closed {
			s.view.cursors.Slots[att.slot].Store(att.slotWord)
		}
	}
	s.awaitScan()
	return cleared
}

// awaitScan waits until the producer does not hold an attachment that is not in its slot
// any more. SC2: the producer loads slots while scans is odd (scanListeners). Once scans
// is even or has changed after the slot was cleared, it does not hold the attachment.
func (s *Stream) awaitScan() {
	for n := s.scans.Load(); n%2 == 1 && s.scans.Load() == n; {
		pause()
	}
}

// detachCorrupt clears the slot of a listener with a corrupt cursor, on the
// producer's side and without a lock. The next holder of the lock finishes it:
// collect.
func (s *Stream) detachCorrupt(slot int, att *attachment) {
	if s.slots[slot].CompareAndSwap(att, nil) {
		s.view.cursors.Slots[slot].Store(0)
		s.corruptCursors.Add(1)
		s.active.And(^uint64(1 << slot))
	}
}

const (
	reasonClosed       = "closed"
	reasonExited       = "process exited"
	reasonCorrupt      = "corrupt cursor"
	reasonServerClosed = "server closed"
)

// collect detaches the listeners whose slots the producer has cleared. It is called
// under mu, as all below.
func (s *Stream) collect() {
	for _, att := range s.attached {
		if att != nil && s.slots[att.slot].Load() != att {
			s.detach(att, reasonCorrupt)
		}
	}
}

// detach ends an attachment and stores its final report. Further calls do nothing.
func (s *Stream) detach(att *attachment, reason string) {
	if att.final != nil {
		return
	}
	defer s.notifier.wakeListener(att.slot)
	var cleared bool
	if att.member != nil {
		cleared = s.depart(att, reason)
	} else {
		cleared = s.clearSlot(att)
	}
	st, consistent := s.listenerStats(att)
	switch {
	case !cleared: // the producer was first and has counted it
		reason = reasonCorrupt
	case !consistent || reason == reasonCorrupt:
		s.corruptCursors.Add(1)
		reason = reasonCorrupt
	}
	st.DetachReason = reason
	att.final = &st
	s.attached[att.slot] = nil
	s.detachedTotal++
	s.recentDetached = append(s.recentDetached, st)
	if len(s.recentDetached) > keptDetached {
		s.olderDetached.add(&s.recentDetached[0])
		s.recentDetached = append(s.recentDetached[:0], s.recentDetached[1:]...)
	}
	if att.peer != nil {
		att.peer.disconnect(reason)
	}
	// Close fails only for a descriptor that is closed already.
	_ = att.page.Close()
	att.cursor = nil
}

// find returns the attached listener with an ID.
func (s *Stream) find(id uint64) (*attachment, error) {
	if s.closed {
		return nil, ErrStreamClosed
	}
	s.collect()
	for _, att := range s.attached {
		if att != nil && att.id == id {
			return att, nil
		}
	}
	return nil, fmt.Errorf("no listener %d is attached", id)
}

// Detach detaches a listener at once. Its slot is free and the producer no longer
// waits for it. The listener's next reading call returns ErrDetached with the
// reason.
func (s *Stream) Detach(id uint64, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	att, err := s.find(id)
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	full := "on request"
	if reason != "" {
		full += ": " + reason
	}
	s.detach(att, full)
	return nil
}

// reader returns a view of the stream through its own mappings.
func (s *Stream) reader() *view {
	v := newView(s.bytes, s.view.header, s.view)
	return &v
}

// newCursor allocates a listener's cursor page and seals its size: if a listener
// could truncate its page, the producer's next load would raise SIGBUS.
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

// selfIDs returns this process's IDs, as SO_PEERCRED would.
func selfIDs() (pid, uid int) { return os.Getpid(), os.Getuid() }

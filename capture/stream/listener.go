package stream

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Policy says what happens when a listener is slower than the traffic.
type Policy uint8

const (
	Lossless Policy = iota // it holds the producer back; the loss moves to the NIC and is counted there
	Lossy                  // it is overtaken and told how much it missed
)

func (p Policy) String() string {
	switch p {
	case Lossless:
		return "lossless"
	case Lossy:
		return "lossy"
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// Start says where a listener begins.
type Start uint8

const (
	FromNow    Start = iota // with the first frame that is published after Listen
	FromOldest              // with the oldest frame that is still there
)

// Options are a listener's choices.
type Options struct {
	Policy Policy
	Start  Start

	// Aligned begins with the first byte of a segment. FromNow, and FromOldest
	// when no segment's start is still there, the current segment is closed
	// early for it, which the producer does at its next Publish; until then the
	// listener reads nothing.
	Aligned bool

	// DetachAfter lets a lossless listener go that has read nothing for so long
	// while frames waited; 0: never.
	DetachAfter time.Duration
}

var (
	// ErrClosed is what reading a closed listener gives.
	ErrClosed = errors.New("listener is closed")

	// ErrDetached means that this listener has been let go: on request, because
	// it read nothing for too long, or because its cursor page held what cannot
	// be. The error that wraps it says which.
	ErrDetached = errors.New("listener was detached")

	// ErrAbandoned means that the process that captured is gone without having
	// finished the stream. What it had published has been read.
	ErrAbandoned = errors.New("the capture ended without finishing the stream")

	// ErrOverrun tells a reader that what it had been handed may have been
	// overwritten while in use, and is void: a lossy reader of bytes, or one that
	// was lossless and did not read for a second after it was made lossy. It
	// goes on further ahead, at the start of a record.
	ErrOverrun = errors.New("listener was overtaken")

	// ErrReadAhead means that a block is asked for that cannot come before
	// earlier ones are consumed.
	ErrReadAhead = errors.New("too much read ahead: consume first")
)

// Listener reads a stream at its own pace. Its reading methods belong to one
// goroutine at a time; Stats, Policy and Close may be called from any.
//
// It sees the stream through mappings of its own, made from the descriptors, in
// the process that captures (Stream.Listen) as in any other (Attach).
type Listener struct {
	name        string
	id          uint64 // of the attachment
	number      int    // of its slot
	pid, uid    int
	since       time.Time
	detachAfter time.Duration
	tie         tie

	dataMap, controlMap, cursorMap mapping

	view            // of the listener's mappings
	account *cursor // its own mapping of its page

	refs   atomic.Int64 // 1 for being open, 1 for each call that reads
	closed atomic.Bool
	mu     sync.Mutex    // for ended
	ended  ListenerStats // once closed

	mode      atomic.Uint64 // the last of cursors.Wanted that it keeps to
	lossy     bool          // how it reads now
	searching bool          // the aligned start is yet to be found
	startAt   position      // where the listener began
	given     position      // what lies before has been given back
	ahead     position      // what lies before has been handed out
	visible   uint64        // IndexHead as last seen
	blocks    inflight      // handed out by ReadBlock and not yet consumed
	scratch   []byte        // copies of frames, lossy only
	batch     []Packet      // of Packets
	err       error         // that ended Packets

	read, readBytes   uint64 // frames and bytes given back
	missed, missBytes uint64 // overtaken
}

// tie is what a listener has to its stream besides the shared memory.
type tie interface {
	// leave detaches in order. The account, so far as the listener itself knows
	// it, becomes the final one that leave returns.
	leave(ListenerStats) ListenerStats
	// why is the reason for which the listener was detached, "" if not known.
	why() string
	// lost tells whether the process that captures is gone: nothing more will be
	// published. Loaded before Head, as Finished is.
	lost() bool
}

// Listen attaches a listener of this process. It may be called at any time,
// before the first frame or while the producer runs, which does not notice.
func (s *Stream) Listen(name string, o Options) (*Listener, error) {
	pid, uid := ours()
	sl, err := s.attach(request{name: name, options: o, pid: pid, uid: uid})
	if err != nil {
		return nil, fmt.Errorf("listen as %s: %w", name, err)
	}
	g, fds, err := s.lend(sl, o)
	defer closeAll(fds)
	var l *Listener
	if err == nil {
		l, err = open(g, &local{s, sl})
	}
	if err != nil {
		s.mu.Lock()
		s.end(sl, whyClosed)
		s.mu.Unlock()
		return nil, fmt.Errorf("listen as %s: %w", name, err)
	}
	return l, nil
}

// local ties a listener to a stream of its own process.
type local struct {
	stream *Stream
	slot   *slot
}

func (t *local) leave(ListenerStats) ListenerStats {
	t.stream.mu.Lock()
	defer t.stream.mu.Unlock()
	t.stream.end(t.slot, whyClosed)
	return *t.slot.final
}

func (t *local) why() string {
	t.stream.mu.Lock()
	defer t.stream.mu.Unlock()
	t.stream.reap()
	if t.slot.final == nil {
		return ""
	}
	return t.slot.final.DetachReason
}

func (t *local) lost() bool { return false }

// Name is the listener's name.
func (l *Listener) Name() string { return l.name }

// Policy is how the listener reads; whoever shares the stream may have changed
// it (SetPolicy) since it attached.
func (l *Listener) Policy() Policy { return Policy(l.mode.Load() & 1) }

// publish tells the producer, and whoever reads the account, how far l is.
func (l *Listener) publish() {
	l.account.write(&account{
		start: l.startAt, position: l.given,
		read: l.read, readBytes: l.readBytes,
		missed: l.missed, missBytes: l.missBytes,
	}, l.blocks.seq)
}

// Stats is the listener's account. After Close it is what it was at the end.
func (l *Listener) Stats() ListenerStats {
	if !l.enter() {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ended
	}
	defer l.leave()
	return l.stats()
}

func (l *Listener) stats() ListenerStats {
	a, _ := l.account.snapshot() // only its own reader writes it, at times
	head := l.published()
	st := a.stats(head)
	st.ID, st.Name, st.PID, st.UID, st.Since = l.id, l.name, l.pid, l.uid, l.since
	st.Policy, st.DetachAfter = l.Policy(), l.detachAfter
	st.Lag = l.age(a.position, head)
	return st
}

// enter keeps the listener's mappings until leave; false when it is closed.
func (l *Listener) enter() bool {
	for {
		n := l.refs.Load()
		if n == 0 || l.closed.Load() {
			return false
		}
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (l *Listener) leave() {
	if l.refs.Add(-1) == 0 {
		l.unmap()
	}
}

// Close detaches the listener: the producer no longer waits for it. A read that
// waits in another goroutine returns ErrClosed. Frames and blocks handed out
// must not be used any more; only inside a loop over Packets the current one
// remains valid. Closing again does nothing.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	l.ended = l.tie.leave(l.stats())
	l.leave()
	return nil
}

// unmap gives the listener's memory back.
func (l *Listener) unmap() {
	l.dataMap.unmap()
	l.controlMap.unmap()
	l.cursorMap.unmap()
}

package stream

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Policy is what happens when a listener is slower than the traffic.
type Policy uint8

const (
	Lossless Policy = iota // it holds the producer back; the NIC loses frames and counts them
	Lossy                  // the producer overwrites frames; the listener counts them
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

// Start is where a listener begins.
type Start uint8

const (
	FromNow    Start = iota // with the first frame that is published after Listen
	FromOldest              // with the oldest frame that is not overwritten
)

// Options are a listener's settings.
type Options struct {
	Policy Policy
	Start  Start

	// Aligned begins with the first byte of a segment. With FromNow, and with
	// FromOldest if every segment's start is overwritten, the producer closes the
	// current segment early, at its next Publish; until then the listener reads
	// nothing.
	Aligned bool

	// DetachAfter detaches a lossless listener that has read nothing for so long
	// while frames were waiting; 0: never.
	DetachAfter time.Duration

	// Fanout makes the listener a member of a group, each frame of which goes to
	// exactly one member: lines of key=value, as in docs/STREAM.md; "": it reads all
	// frames. A member begins with the next frame and reads packets, not bytes.
	Fanout string
}

var (
	// ErrClosed is returned by the reading calls of a closed listener. It is an
	// os.ErrClosed.
	ErrClosed error = closedError("listener is closed")

	// ErrStreamClosed is returned by calls that need an open stream. It is an
	// os.ErrClosed.
	ErrStreamClosed error = closedError("stream is closed")

	// ErrDetached means that the stream has detached the listener: on request,
	// because it read nothing for too long, or because its cursor was corrupt. The
	// error that wraps it has the reason.
	ErrDetached = errors.New("listener was detached")

	// ErrAbandoned means that the capture's process ended without finishing the
	// stream. The listener has read all that was published.
	ErrAbandoned = errors.New("capture ended without finishing the stream")

	// ErrOverrun means that the packets or blocks returned before may have been
	// overwritten while in use and are void. It is returned to a lossy reader of
	// bytes, and to a reader that did not read for a second after it was made
	// lossy. Reading continues further ahead, at the start of a record.
	ErrOverrun = errors.New("listener was overrun")

	// ErrReadAhead means that the next block cannot come before an earlier one is
	// consumed.
	ErrReadAhead = errors.New("too many blocks in flight: consume one first")
)

// closedError is an error that is an os.ErrClosed.
type closedError string

func (e closedError) Error() string { return string(e) }

func (e closedError) Unwrap() error { return os.ErrClosed }

// Listener reads a stream at its own pace. Its reading methods belong to one
// goroutine at a time; Stats, Policy and Close may be called from any.
//
// It reads through its own mappings of the stream's memories, in the capture's
// process (Stream.Listen) and in any other (Attach).
type Listener struct {
	name        string
	id          uint64 // of the attachment
	slot        int
	pid, uid    int
	since       time.Time
	detachAfter time.Duration
	link        link

	dataMap, controlMap, cursorMap mapping

	view            // of the listener's mappings
	account *cursor // its own mapping of its page

	refs   atomic.Int64 // 1 for being open, 1 for each call that reads
	closed atomic.Bool
	mu     sync.Mutex    // for ended
	ended  ListenerStats // once closed

	mode      atomic.Uint64 // the last value of cursors.Wanted that it has applied
	lossy     bool          // how it reads now
	noWait    bool          // the call that reads does not wait
	searching bool          // the aligned start is not found yet
	startAt   position      // where the listener began
	released  position      // frames and bytes before it are released
	next      position      // frames and bytes before it are returned to the reader
	visible   uint64        // IndexHead as loaded last
	blocks    inflight
	scratch   []byte      // copies of frames: of a lossy listener, or over several buffers
	gathered  *gathered   // of a reader of bytes, in a stream with a pool
	batch     []Packet    // of Packets
	timer     *time.Timer // of awaitBlock; nil: none yet
	err       error       // that ended Packets

	read, readBytes       uint64 // frames and bytes read and released
	overrun, overrunBytes uint64
	skipped, skippedBytes uint64 // of other members
	handed, handedBytes   uint64 // of handovers

	member *memberReader // nil: the listener is in no group
}

// link is a listener's connection to its stream besides the shared memory.
type link interface {
	// detach detaches in order. It gets the listener's own account and returns the
	// final report.
	detach(ListenerStats) ListenerStats
	// reason returns why the listener was detached, "" if that is not known.
	reason() string
	// producerGone reports whether the capture's process has ended, so that nothing
	// more will be published. It is called before Head is loaded, as Finished is.
	producerGone() bool
}

// Listen attaches a listener of this process. It may be called at any time,
// before the first frame or while the producer runs. The producer does not wait
// for it.
func (s *Stream) Listen(name string, o Options) (*Listener, error) {
	pid, uid := selfIDs()
	att, err := s.attach(request{name: name, options: o, pid: pid, uid: uid})
	if err != nil {
		return nil, fmt.Errorf("listen as %s: %w", name, err)
	}
	g, fds, err := s.dupGrant(att, o)
	defer closeAll(fds)
	var l *Listener
	if err == nil {
		l, err = open(g, &local{s, att})
	}
	if err != nil {
		s.mu.Lock()
		s.detach(att, reasonClosed)
		s.mu.Unlock()
		return nil, fmt.Errorf("listen as %s: %w", name, err)
	}
	return l, nil
}

// local links a listener to a stream of its own process.
type local struct {
	stream     *Stream
	attachment *attachment
}

func (t *local) detach(ListenerStats) ListenerStats {
	t.stream.mu.Lock()
	defer t.stream.mu.Unlock()
	t.stream.detach(t.attachment, reasonClosed)
	return *t.attachment.final
}

func (t *local) reason() string {
	t.stream.mu.Lock()
	defer t.stream.mu.Unlock()
	t.stream.collect()
	if t.attachment.final == nil {
		return ""
	}
	return t.attachment.final.DetachReason
}

func (t *local) producerGone() bool { return false }

// Name is the listener's name.
func (l *Listener) Name() string { return l.name }

// Policy is how the listener reads now. Stream.SetPolicy can change it.
func (l *Listener) Policy() Policy { return Policy(l.mode.Load() & 1) }

// publish writes the listener's account, which releases what it has read.
func (l *Listener) publish() {
	l.account.write(&account{
		start: l.startAt, position: l.released,
		read: l.read, readBytes: l.readBytes,
		overrun: l.overrun, overrunBytes: l.overrunBytes,
		skipped: l.skipped, skippedBytes: l.skippedBytes,
		handed: l.handed, handedBytes: l.handedBytes,
	}, l.blocks.seq)
}

// Stats returns the listener's account. After Close it is the final report.
func (l *Listener) Stats() ListenerStats {
	if !l.enter() {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.ended
	}
	defer l.exit()
	return l.stats()
}

func (l *Listener) stats() ListenerStats {
	a, _ := l.account.snapshot() // written by the listener's own reader only
	head := l.published()
	st := a.stats(head)
	st.ID, st.Name, st.PID, st.UID, st.Since = l.id, l.name, l.pid, l.uid, l.since
	st.Policy, st.DetachAfter = l.Policy(), l.detachAfter
	st.Lag = l.age(a.position, head)
	return st
}

// enter keeps the listener's mappings until exit. It returns false if the listener
// is closed.
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

func (l *Listener) exit() {
	if l.refs.Add(-1) == 0 {
		l.unmap()
	}
}

// Close detaches the listener: the producer no longer waits for it. A read that
// waits in another goroutine returns ErrClosed. Frames and blocks must not be used
// after Close; only the current packet of a loop over Packets remains valid.
// Closing again does nothing.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	l.ended = l.link.detach(l.stats())
	l.exit()
	return nil
}

// unmap unmaps the listener's memories.
func (l *Listener) unmap() {
	if l.gathered != nil {
		_ = l.gathered.mem.Close() // its pages are freed with the process at the latest
	}
	l.dataMap.unmap()
	l.controlMap.unmap()
	l.cursorMap.unmap()
}

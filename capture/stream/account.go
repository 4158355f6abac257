package stream

import (
	"fmt"
	"time"
)

// ListenerStats are a listener's side of the ledger. Frames and bytes count as
// read once they are given back: by the next call that reads, or by Consume.
//
//	Stored = Read + Overrun + Unread, in frames and in bytes
//
// The stream believes a listener only as far as its account is possible. One
// whose account cannot be true is detached, and the last that could is its final
// one.
type ListenerStats struct {
	ID          uint64 // of the attachment, unique in its stream
	Name        string
	PID, UID    int // of its process
	Since       time.Time
	Policy      Policy        // asked for last, see Stream.SetPolicy
	DetachAfter time.Duration // 0: never

	Stored  uint64 // frames published since the listener's start
	Read    uint64 // frames read
	Overrun uint64 // frames lost because the producer overtook the listener
	Unread  uint64 // frames published and not read yet

	ReadBytes    uint64 // bytes of the stream, headers and padding included
	OverrunBytes uint64

	LagBytes uint64        // published and not given back
	Lag      time.Duration // age of the oldest frame not given back and still there

	DetachReason string // why it is not attached any more; "" while it is
}

// add adds the frames and bytes of another listener.
func (s *ListenerStats) add(o *ListenerStats) {
	s.Stored += o.Stored
	s.Read += o.Read
	s.Overrun += o.Overrun
	s.Unread += o.Unread
	s.ReadBytes += o.ReadBytes
	s.OverrunBytes += o.OverrunBytes
}

// Balanced is nil when every frame since the listener's start is accounted for.
func (s ListenerStats) Balanced() error {
	if s.Stored != s.Read+s.Overrun+s.Unread {
		return fmt.Errorf("listener %s: %d frames stored, but %d read + %d overtaken + %d unread",
			s.Name, s.Stored, s.Read, s.Overrun, s.Unread)
	}
	return nil
}

// account is what a listener says of itself in its page.
type account struct {
	start    position // where it began
	position position // what lies before has been given back

	read, readBytes   uint64
	missed, missBytes uint64 // overtaken
}

// write puts an account into a listener's page. What is given back is told
// first, so that an account never lies beyond it; index entries before seq are
// given back, which may be more than the account's. Version is odd meanwhile.
func (c *cursor) write(a *account, seq uint64) {
	c.giveBack(a.position.offset, max(a.position.seq, seq))
	n := c.Version.Load()
	releaseStore(&c.Version, n+1)
	fence()
	releaseStore(&c.StartSeq, a.start.seq)
	releaseStore(&c.StartOffset, a.start.offset)
	releaseStore(&c.Position, a.position.seq)
	releaseStore(&c.PositionOffset, a.position.offset)
	releaseStore(&c.Read, a.read)
	releaseStore(&c.ReadBytes, a.readBytes)
	releaseStore(&c.Overrun, a.missed)
	releaseStore(&c.OverrunBytes, a.missBytes)
	releaseStore(&c.Version, n+2)
}

// giveBack lets the producer reuse what lies before. Release: pairs with the
// loads in Producer.scan; all that was read before has been read by then.
func (c *cursor) giveBack(offset, seq uint64) {
	releaseStore(&c.Offset, offset)
	releaseStore(&c.Seq, seq)
}

// snapshot reads an account while it may be written. False: its owner keeps
// changing it, or was stopped or killed in the middle of a change.
func (c *cursor) snapshot() (a account, whole bool) {
	for range 100 {
		n := c.Version.Load()
		a = account{
			start:    position{c.StartOffset.Load(), c.StartSeq.Load()},
			position: position{c.PositionOffset.Load(), c.Position.Load()},
			read:     c.Read.Load(), readBytes: c.ReadBytes.Load(),
			missed: c.Overrun.Load(), missBytes: c.OverrunBytes.Load(),
		}
		fence()
		if n%2 == 0 && c.Version.Load() == n {
			return a, true
		}
		pause()
	}
	return a, false
}

// follows tells whether a may come after b in the life of one listener, with so
// much published and given back by now. The start may move only as long as
// nothing has been read, and only if an aligned one is looked for (mayMove).
func (a *account) follows(b *account, head, given position, mayMove bool) bool {
	settled := a.start == b.start || mayMove && *b == (account{start: b.start, position: b.start}) &&
		a.start.seq >= b.start.seq && a.start.offset >= b.start.offset
	return settled &&
		b.position.seq <= a.position.seq && a.position.seq <= given.seq && given.seq <= head.seq &&
		b.position.offset <= a.position.offset && a.position.offset <= given.offset && given.offset <= head.offset &&
		a.start.seq <= a.position.seq && a.start.offset <= a.position.offset &&
		a.read >= b.read && a.missed >= b.missed && a.readBytes >= b.readBytes && a.missBytes >= b.missBytes &&
		a.read <= a.position.seq && a.read+a.missed == a.position.seq-a.start.seq &&
		a.readBytes <= a.position.offset && a.readBytes+a.missBytes == a.position.offset-a.start.offset
}

// stats is an account in a ledger's words, with so much published.
func (a *account) stats(head position) ListenerStats {
	return ListenerStats{
		Stored: head.seq - a.start.seq, Unread: head.seq - a.position.seq,
		Read: a.read, ReadBytes: a.readBytes,
		Overrun: a.missed, OverrunBytes: a.missBytes,
		LagBytes: head.offset - a.position.offset,
	}
}

// look reads a listener's account. False: what its page says cannot be true;
// last is what it was before.
func (s *Stream) look(sl *slot) (possible bool) {
	a, whole := sl.cursor.snapshot()
	// After the account: positions lie before what is given back, and that
	// before what is published.
	given := position{sl.cursor.Offset.Load(), sl.cursor.Seq.Load()}
	if whole {
		if !a.follows(&sl.last, s.published(), given, sl.mayMove) {
			return false
		}
		sl.last = a
	}
	return true
}

// published is how much of the stream can be read.
func (s *Stream) published() position {
	if s.closed {
		return position{s.final.Bytes, s.final.Frames}
	}
	return s.reader().published()
}

// listenerStats is a listener's account as far as it is believed, and whether
// all of it is.
func (s *Stream) listenerStats(sl *slot) (ListenerStats, bool) {
	possible := s.look(sl)
	head := s.published()
	st := sl.last.stats(head)
	st.ID, st.Name, st.PID, st.UID, st.Since = sl.id, sl.name, sl.pid, sl.uid, sl.since
	st.Policy, st.DetachAfter = sl.policy, sl.detachAfter
	if !s.closed {
		st.Lag = s.reader().age(sl.last.position, head)
	}
	return st, possible
}

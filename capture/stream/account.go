package stream

import (
	"fmt"
	"time"
)

// ListenerStats are a listener's side of the ledger. Frames and bytes count as
// read once they are released: by the next reading call, or by Consume.
//
//	Stored = Read + Overrun + Skipped + Unread, in frames and in bytes
//
// The stream checks every account. A listener with an inconsistent account is
// detached, and its last consistent account is its final report.
type ListenerStats struct {
	ID          uint64        `json:"id"` // of the attachment, unique in its stream
	Name        string        `json:"name"`
	PID         int           `json:"pid"` // of its process
	UID         int           `json:"uid"`
	Since       time.Time     `json:"since"`
	Policy      Policy        `json:"policy"`          // requested last, see Stream.SetPolicy
	DetachAfter time.Duration `json:"detach_after_ns"` // 0: never

	Stored  uint64 `json:"stored"`  // frames published since the listener's start
	Read    uint64 `json:"read"`    // frames read
	Overrun uint64 `json:"overrun"` // frames lost because the producer overwrote them before they were read
	Skipped uint64 `json:"skipped"` // frames of other members of its fan-out group; 0 for a listener in no group
	Unread  uint64 `json:"unread"`  // frames published and not read yet

	ReadBytes    uint64 `json:"read_bytes"` // bytes of the stream, headers and padding included
	OverrunBytes uint64 `json:"overrun_bytes"`
	SkippedBytes uint64 `json:"skipped_bytes"` // padding included

	// What a member took over from members that departed is in no other count.
	Handed      uint64 `json:"handed"`
	HandedBytes uint64 `json:"handed_bytes"` // headers included

	LagBytes uint64        `json:"lag_bytes"` // published and not released
	Lag      time.Duration `json:"lag_ns"`    // age of the oldest frame that is neither released nor overwritten
	Held     time.Duration `json:"held_ns"`   // the stream was full, and of the lossless listeners it had released least

	DetachReason string `json:"detach_reason"` // why it was detached; "" while it is attached
}

// add adds the frames and bytes of another listener.
func (s *ListenerStats) add(o *ListenerStats) {
	s.Stored += o.Stored
	s.Read += o.Read
	s.Overrun += o.Overrun
	s.Skipped += o.Skipped
	s.Unread += o.Unread
	s.ReadBytes += o.ReadBytes
	s.OverrunBytes += o.OverrunBytes
	s.SkippedBytes += o.SkippedBytes
	s.Handed += o.Handed
	s.HandedBytes += o.HandedBytes
}

// Balanced returns nil if every frame since the listener's start is accounted for.
func (s ListenerStats) Balanced() error {
	if s.Stored != s.Read+s.Overrun+s.Skipped+s.Unread {
		return fmt.Errorf("listener %s: %d frames stored, but %d read + %d overrun + %d skipped + %d unread",
			s.Name, s.Stored, s.Read, s.Overrun, s.Skipped, s.Unread)
	}
	return nil
}

// account is a listener's account as its page holds it.
type account struct {
	start    position // where it began
	position position // the bytes and frames before it are released

	read, readBytes       uint64
	overrun, overrunBytes uint64
	skipped, skippedBytes uint64
	handed, handedBytes   uint64
}

// write stores an account in a listener's page. It releases first, so that no
// account lies beyond what is released; index entries before seq are released,
// which may be more than the account's. Version is odd during the update.
func (c *cursor) write(a *account, seq uint64) {
	c.release(a.position.offset, max(a.position.seq, seq))
	n := c.Version.Load()
	// R6: Version becomes odd before the account changes and even after it. Pairs
	// with A6 in snapshot.
	releaseStore(&c.Version, n+1)
	fence()
	releaseStore(&c.StartSeq, a.start.seq)
	releaseStore(&c.StartOffset, a.start.offset)
	releaseStore(&c.Position, a.position.seq)
	releaseStore(&c.PositionOffset, a.position.offset)
	releaseStore(&c.Read, a.read)
	releaseStore(&c.ReadBytes, a.readBytes)
	releaseStore(&c.Overrun, a.overrun)
	releaseStore(&c.OverrunBytes, a.overrunBytes)
	releaseStore(&c.Skipped, a.skipped)
	releaseStore(&c.SkippedBytes, a.skippedBytes)
	releaseStore(&c.Handed, a.handed)
	releaseStore(&c.HandedBytes, a.handedBytes)
	releaseStore(&c.Version, n+2)
}

// release lets the producer reuse the bytes before offset and the index entries
// before seq. R5: all reads of them come before these stores. Pairs with A5 in
// scanListeners.
func (c *cursor) release(offset, seq uint64) {
	releaseStore(&c.Offset, offset)
	releaseStore(&c.Seq, seq)
}

// snapshot reads an account that may be written at the same time. It returns false
// if every try met a change, or if the writer was stopped or killed during one.
func (c *cursor) snapshot() (a account, whole bool) {
	for range 100 {
		n := c.Version.Load() // A6, pairs with R6 in write
		a = account{
			start:    position{c.StartOffset.Load(), c.StartSeq.Load()},
			position: position{c.PositionOffset.Load(), c.Position.Load()},
			read:     c.Read.Load(), readBytes: c.ReadBytes.Load(),
			overrun: c.Overrun.Load(), overrunBytes: c.OverrunBytes.Load(),
			skipped: c.Skipped.Load(), skippedBytes: c.SkippedBytes.Load(),
			handed: c.Handed.Load(), handedBytes: c.HandedBytes.Load(),
		}
		fence()
		if n%2 == 0 && c.Version.Load() == n {
			return a, true
		}
		pause()
	}
	return a, false
}

// follows reports whether account a can come after account b of the same listener.
// head is the end of what is published, released that of what the listener has
// released. The start may change only before the first read, and only during the
// search for an aligned start (startMoves).
func (a *account) follows(b *account, head, released position, startMoves bool) bool {
	sameStart := a.start == b.start || startMoves && *b == (account{start: b.start, position: b.start}) &&
		a.start.seq >= b.start.seq && a.start.offset >= b.start.offset
	return sameStart &&
		b.position.seq <= a.position.seq && a.position.seq <= released.seq && released.seq <= head.seq &&
		b.position.offset <= a.position.offset && a.position.offset <= released.offset && released.offset <= head.offset &&
		a.start.seq <= a.position.seq && a.start.offset <= a.position.offset &&
		a.read >= b.read && a.overrun >= b.overrun && a.skipped >= b.skipped && a.handed >= b.handed &&
		a.readBytes >= b.readBytes && a.overrunBytes >= b.overrunBytes && a.skippedBytes >= b.skippedBytes && a.handedBytes >= b.handedBytes &&
		a.read <= a.position.seq && a.skipped <= a.position.seq && a.handed <= head.seq &&
		a.read+a.overrun+a.skipped == a.position.seq-a.start.seq &&
		a.readBytes <= a.position.offset && a.skippedBytes <= a.position.offset && a.handedBytes <= head.offset &&
		a.readBytes+a.overrunBytes+a.skippedBytes == a.position.offset-a.start.offset
}

// stats converts an account; head is the end of what is published.
func (a *account) stats(head position) ListenerStats {
	return ListenerStats{
		Stored: head.seq - a.start.seq, Unread: head.seq - a.position.seq,
		Read: a.read, ReadBytes: a.readBytes,
		Overrun: a.overrun, OverrunBytes: a.overrunBytes,
		Skipped: a.skipped, SkippedBytes: a.skippedBytes,
		Handed: a.handed, HandedBytes: a.handedBytes,
		LagBytes: head.offset - a.position.offset,
	}
}

// readAccount updates att.last from the listener's page. It returns false and
// leaves att.last if the page is inconsistent.
func (s *Stream) readAccount(att *attachment) (consistent bool) {
	a, whole := att.cursor.snapshot()
	// Loaded after the account: positions lie before what is released, and that
	// before what is published.
	released := position{att.cursor.Offset.Load(), att.cursor.Seq.Load()}
	if whole {
		if !a.follows(&att.last, s.published(), released, att.startMoves) || !att.member.mayHave(&a) {
			return false
		}
		att.last = a
	}
	return true
}

// published returns the end of what can be read.
func (s *Stream) published() position {
	if s.closed {
		return position{s.final.Bytes, s.final.Frames}
	}
	return s.reader().published()
}

// listenerStats returns a listener's last consistent account, and whether its page
// is consistent now.
func (s *Stream) listenerStats(att *attachment) (ListenerStats, bool) {
	consistent := s.readAccount(att)
	head := s.published()
	st := att.last.stats(head)
	st.ID, st.Name, st.PID, st.UID, st.Since = att.id, att.name, att.pid, att.uid, att.since
	st.Policy, st.DetachAfter = att.policy, att.detachAfter
	st.Held = time.Duration(att.held.Load())
	if !s.closed {
		st.Lag = s.reader().age(att.last.position, head)
	}
	return st, consistent
}

package stream

import (
	"errors"
	"fmt"
)

// ListenerStats are a listener's side of the ledger. Frames and bytes count as
// read once they are given back: by the next call that reads, or by Consume.
//
//	Stored = Read + Overtaken + Unread, in frames and in bytes
type ListenerStats struct {
	Name   string
	Policy Policy

	Stored    uint64 // frames published since the listener's start
	Read      uint64 // frames read
	Overtaken uint64 // frames lost because the producer overtook the listener
	Unread    uint64 // frames published and not read yet

	ReadBytes      uint64 // bytes of the stream, headers and padding included
	OvertakenBytes uint64
}

// Balanced is nil when every frame since the listener's start is accounted for.
func (s ListenerStats) Balanced() error {
	if s.Stored != s.Read+s.Overtaken+s.Unread {
		return fmt.Errorf("listener %s: %d frames stored, but %d read + %d overtaken + %d unread",
			s.Name, s.Stored, s.Read, s.Overtaken, s.Unread)
	}
	return nil
}

// publish tells the producer, and whoever reads the account, how far l is.
func (l *Listener) publish() {
	a := l.account
	n := a.Version.Load()
	releaseStore(&a.Version, n+1)
	fence()
	releaseStore(&a.StartSeq, l.startAt.seq)
	releaseStore(&a.StartOffset, l.startAt.offset)
	releaseStore(&a.Position, l.given.seq)
	releaseStore(&a.PositionOffset, l.given.offset)
	releaseStore(&a.Read, l.read)
	releaseStore(&a.ReadBytes, l.readBytes)
	releaseStore(&a.Overtaken, l.missed)
	releaseStore(&a.OvertakenBytes, l.missBytes)
	releaseStore(&a.Version, n+2)
	l.giveBack(l.given.offset, max(l.given.seq, l.blocks.seq))
}

// giveBack lets the producer reuse what lies before. Release: pairs with the
// loads in Producer.scan; all that was read before has been read by then.
func (l *Listener) giveBack(offset, seq uint64) {
	releaseStore(&l.account.Offset, offset)
	releaseStore(&l.account.Seq, seq)
}

// readAccount reads a listener's page while it is being written. stored is
// called after the page has been read: positions never lie beyond it. A listener
// that keeps changing its page gets what was seen last.
func readAccount(c *cursor, stored func() uint64) ListenerStats {
	var s ListenerStats
	for range 1000 {
		n := c.Version.Load()
		first, position := c.StartSeq.Load(), c.Position.Load()
		s.Read, s.ReadBytes = c.Read.Load(), c.ReadBytes.Load()
		s.Overtaken, s.OvertakenBytes = c.Overtaken.Load(), c.OvertakenBytes.Load()
		now := stored()
		s.Stored, s.Unread = now-first, now-position
		fence()
		if n%2 == 0 && c.Version.Load() == n {
			break
		}
		pause()
	}
	return s
}

// Stats reads the listener's account. After Close it is what it was at the end.
func (l *Listener) Stats() ListenerStats {
	if !l.enter() {
		l.stream.mu.Lock()
		defer l.stream.mu.Unlock()
		return l.ended
	}
	defer l.leave()
	return l.stats()
}

func (l *Listener) stats() ListenerStats {
	s := readAccount(l.account, l.cur.IndexHead.Load)
	s.Name, s.Policy = l.name, l.policy
	return s
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
		// An error here could only be a descriptor closed by somebody else;
		// whoever called Close has its answer already.
		_ = l.unmap()
	}
}

// Close detaches the listener: the producer no longer waits for it. A read that
// waits in another goroutine returns ErrClosed. Frames and blocks handed out
// must not be used any more; only inside a loop over Packets the current one
// remains valid. Closing again does nothing.
func (l *Listener) Close() error {
	s := l.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	s.leave(l.number, l.slot)
	l.ended = l.stats()
	if l.refs.Add(-1) == 0 {
		return l.unmap()
	}
	return nil
}

// unmap gives the listener's memory back.
func (l *Listener) unmap() error {
	l.dataMap.unmap()
	l.controlMap.unmap()
	l.cursorMap.unmap()
	var errs []error
	if l.page != nil {
		errs = append(errs, l.page.Close())
	}
	return errors.Join(errs...)
}

package stream

import "fmt"

// Source is the interface, as the stream was made for it, and the receive queue
// that the frames come from.
func (l *Listener) Source() (name string, queue int) {
	if !l.enter() {
		return "", 0
	}
	defer l.leave()
	h := viewHeader(l.controlMap.mem)
	return string(h.Name[:min(int(h.NameBytes), len(h.Name))]), int(h.Queue)
}

// SegmentStart is the offset in the stream at which the segment begins that a
// byte of the stream belongs to: byte offset-SegmentStart(offset) of its RAW file.
// The starts of all segments that are not overwritten are known; false means that
// this one's is not.
func (l *Listener) SegmentStart(offset uint64) (uint64, bool) {
	if !l.enter() {
		return 0, false
	}
	defer l.leave()
	n := l.cur.Segments.Load() // acquire: the starts it counts are visible
	for i := n; i > 0 && n-i+1 < uint64(len(l.starts)); i-- {
		if at := l.starts[(i-1)&uint64(len(l.starts)-1)].Offset.Load(); at <= offset {
			return at, true
		}
	}
	return 0, false
}

// Offset is where in the stream the packet's record begins, in bytes.
func (p *Packet) Offset() uint64 { return p.end - RecordHeader - uint64(len(p.Data)) }

// SkipTo gives back, unread, the frames before a stream offset, which is not
// beyond what is published: reading goes on with the first record at or after it.
// Whoever does not need them is in nobody's way. ErrOverrun tells a lossy reader
// that they include some that it needs: what lies at the offset is overwritten. The
// listener is where it was then.
func (l *Listener) SkipTo(offset uint64) error {
	if !l.enter() {
		return ErrClosed
	}
	defer l.leave()
	if err := l.renew(); err != nil {
		return err
	}
	l.release()
	if offset <= l.given.offset {
		return nil
	}
	to := l.newest()
	if offset > to.offset {
		return fmt.Errorf("forward to byte %d: only %d are published", offset, to.offset)
	}
	lo := l.given.seq
	if n, reserved := uint64(len(l.index)), l.cur.ReserveSeq.Load(); reserved > n {
		lo = max(lo, reserved-n) // those before are overwritten
	}
	for hi := to.seq; lo < hi; {
		mid := lo + (hi-lo)/2
		if at := l.entry(mid).Offset; at >= offset {
			hi, to = mid, position{at, mid}
		} else {
			lo = mid + 1
		}
	}
	if l.lossy && l.overtaken(position{offset, to.seq}) {
		return ErrOverrun
	}
	l.ahead = to
	l.release()
	return nil
}

package stream

import (
	"fmt"
	"time"
)

// Source returns the interface and the receive queue that the frames come from, as
// in the stream's Config.
func (l *Listener) Source() (name string, queue int) {
	if !l.enter() {
		return "", 0
	}
	defer l.exit()
	h := viewHeader(l.controlMap.mem)
	return string(h.Name[:min(int(h.NameBytes), len(h.Name))]), int(h.Queue)
}

// Uncertainty returns the longest time between a frame's arrival in host memory and
// its stamp that the producer cannot exclude, for all frames of the stream so far; 0:
// not known. The stamps of frames of two queues may be in another order than the
// frames arrived by at most the sum of both.
func (l *Listener) Uncertainty() time.Duration {
	if !l.enter() {
		return 0
	}
	defer l.exit()
	return time.Duration(l.cur.Uncertainty.Load())
}

// SegmentStart returns the stream offset at which the segment of a byte begins: the
// byte is byte offset-SegmentStart(offset) of its RAW file. It returns false if the
// segment's start is not known any more, which is so only for segments that are
// overwritten.
func (l *Listener) SegmentStart(offset uint64) (uint64, bool) {
	if !l.enter() {
		return 0, false
	}
	defer l.exit()
	n := l.cur.Segments.Load() // A3, pairs with R3 in pad
	for i := n; i > 0 && n-i+1 < uint64(len(l.starts)); i-- {
		if at := l.starts[(i-1)&uint64(len(l.starts)-1)].Offset.Load(); at <= offset {
			return at, true
		}
	}
	return 0, false
}

// Offset is the stream offset of the packet's record, in bytes.
func (p *Packet) Offset() uint64 { return p.end - RecordHeader - uint64(len(p.Data)) }

// SkipTo releases the frames before a stream offset unread: reading continues with
// the first record at or after the offset, which must not lie beyond what is
// published. For a lossy reader it returns ErrOverrun if the record at the offset
// may be overwritten; the listener's position does not change then.
func (l *Listener) SkipTo(offset uint64) error {
	if !l.enter() {
		return ErrClosed
	}
	defer l.exit()
	if err := l.updatePolicy(); err != nil {
		return err
	}
	l.release()
	if offset <= l.released.offset {
		return nil
	}
	to := l.newest()
	if offset > to.offset {
		return fmt.Errorf("skip to byte %d: only %d are published", offset, to.offset)
	}
	lo := l.released.seq
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
	if l.lossy && l.overwritten(position{offset, to.seq}) {
		return ErrOverrun
	}
	l.next = to
	l.release()
	return nil
}

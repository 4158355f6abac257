package stream

import (
	"context"
	"fmt"
)

// maxInflight is how many blocks a byte reader can hold before consuming one.
const maxInflight = 256

// inflight are the blocks handed out and not consumed, oldest first: where each
// ends, and the first frame that begins at its end or later.
type inflight struct {
	ends  []position // a ring of maxInflight
	first int
	n     int

	seq  uint64 // index entries before it have been looked at and given back
	last bool   // the block handed out last ends its segment

	frames int // that begin in the block handed out last
}

func (b *inflight) push(at position) {
	if b.ends == nil {
		b.ends = make([]position, maxInflight)
	}
	b.ends[(b.first+b.n)%maxInflight] = at
	b.n++
}

// reset forgets the blocks; index entries before seq are given back.
func (b *inflight) reset(seq uint64) {
	b.first, b.n, b.last = 0, 0, false
	b.seq = max(b.seq, seq)
}

func (b *inflight) oldest() position { return b.ends[b.first%maxInflight] }

func (b *inflight) pop() {
	b.first = (b.first + 1) % maxInflight
	b.n--
}

// ReadBlock waits for the stream's next bytes up to a multiple of max (an offset
// in the stream, so that blocks stay aligned) or up to the end of the segment,
// and returns them as they lie in the stream. A record may begin in one block and
// end in the next. Only the stream's last block is shorter than that; after it
// comes io.EOF.
//
// The bytes stay where they are until Consume: several blocks may be in flight.
// ErrReadAhead means that the next one cannot come before one of them has been
// consumed. To a lossy reader ErrOverrun says that blocks were lost.
// It does not allocate but for its first call.
func (l *Listener) ReadBlock(ctx context.Context, max int) ([]byte, error) {
	if !l.enter() {
		return nil, ErrClosed
	}
	defer l.leave()
	if max < 1 {
		return nil, fmt.Errorf("read block of %d bytes: choose 1 or more", max)
	}
	size := l.mask + 1
	if uint64(max)+MaxRecord > size {
		return nil, fmt.Errorf("read block of %d bytes: a buffer of %d bytes never holds one whole; choose a larger buffer", max, size)
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	want := (l.ahead.offset/uint64(max) + 1) * uint64(max)
	// Held back by this very listener, the producer stops less than one record
	// short of a whole buffer beyond what was given back.
	if l.blocks.n == maxInflight || want+MaxRecord > l.given.offset+size {
		return nil, ErrReadAhead
	}
	for w := (waiter{}); ; {
		over := l.over()          // before Head, which is final then
		head := l.cur.Head.Load() // acquire: pairs with Producer.publish
		end, last := want, false
		if next, ok := l.segmentEnd(); ok && next <= end {
			end, last = next, true
		}
		if over != nil && head < end {
			end, last = head, false
		}
		l.passEntries(min(head, end))
		if l.lossy && l.overtaken(l.given) {
			l.skip()
			return nil, ErrOverrun
		}
		if end > l.ahead.offset && head >= end {
			return l.handOut(end, last), nil
		}
		if err := l.wait(ctx, &w, over); err != nil {
			return nil, err
		}
	}
}

// SegmentEnd tells whether the block that ReadBlock returned last ends its
// segment: the next block belongs to the next file.
func (l *Listener) SegmentEnd() bool { return l.blocks.last }

// BlockFrames returns how many frames begin in the block that ReadBlock returned
// last.
func (l *Listener) BlockFrames() int { return l.blocks.frames }

// Offset is where in the stream the next block begins, in bytes.
func (l *Listener) Offset() uint64 { return l.ahead.offset }

// InFlight is how many bytes ReadBlock has handed out that are not consumed yet.
func (l *Listener) InFlight() int { return int(l.ahead.offset - l.given.offset) }

func (l *Listener) handOut(end uint64, last bool) []byte {
	at, n := l.ahead.offset&l.mask, end-l.ahead.offset
	l.blocks.frames = int(l.blocks.seq - l.ahead.seq)
	l.ahead = position{end, l.blocks.seq}
	l.blocks.push(l.ahead)
	l.blocks.last = last
	return l.data[at : at+n : at+n]
}

// segmentEnd is where the segment that ahead lies in ends, if that is known yet:
// where the next one begins.
func (l *Listener) segmentEnd() (uint64, bool) {
	n := l.cur.Segments.Load() // acquire: the starts it counts are visible
	end, found := uint64(0), false
	for i := n; i > 0 && n-i+1 < uint64(len(l.starts)); i-- {
		at := l.starts[(i-1)&uint64(len(l.starts)-1)].Offset.Load()
		if at <= l.ahead.offset {
			break
		}
		end, found = at, true
	}
	return end, found
}

// passEntries counts the frames before a stream offset and gives their index
// entries back, which a reader of bytes has no other use for: the index can
// be full long before the data.
func (l *Listener) passEntries(before uint64) {
	h := l.cur.IndexHead.Load()
	seq := l.blocks.seq
	if seq < h && l.entry(h-1).Offset < before {
		seq = h
	}
	for hi := h; seq < hi; {
		mid := seq + (hi-seq)/2
		if l.entry(mid).Offset < before {
			seq = mid + 1
		} else {
			hi = mid
		}
	}
	if seq != l.blocks.seq {
		l.blocks.seq = seq
		l.account.giveBack(l.given.offset, seq)
	}
}

// Consume gives the oldest n bytes that ReadBlock handed out back to the
// producer. ErrOverrun means, for a lossy listener, that they may have been
// overwritten while they were in use: all blocks handed out are void then.
func (l *Listener) Consume(n int) error {
	if !l.enter() {
		return ErrClosed
	}
	defer l.leave()
	if err := l.renew(); err != nil {
		return err
	}
	if n < 0 || l.given.offset+uint64(n) > l.ahead.offset {
		return fmt.Errorf("consume %d bytes: %d are handed out", n, l.InFlight())
	}
	if l.lossy && l.overtaken(l.given) {
		l.skip()
		return ErrOverrun
	}
	l.readBytes += uint64(n)
	l.given.offset += uint64(n)
	for l.blocks.n > 0 && l.blocks.oldest().offset <= l.given.offset {
		at := l.blocks.oldest()
		l.read += at.seq - l.given.seq
		l.given.seq = at.seq
		l.blocks.pop()
	}
	l.publish()
	return nil
}

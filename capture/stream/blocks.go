package stream

import (
	"context"
	"errors"
	"fmt"
)

// maxInflight is the largest number of blocks that a reader of bytes can hold.
const maxInflight = 256

// inflight are the blocks returned and not consumed, oldest first: where each ends,
// and the first frame that begins at its end or later.
type inflight struct {
	ends  []position // a ring of maxInflight
	first int
	n     int

	seq  uint64 // index entries before it are counted and released
	last bool   // the block returned last ends its segment

	frames int // frames that begin in the block returned last
}

func (b *inflight) push(at position) {
	if b.ends == nil {
		b.ends = make([]position, maxInflight)
	}
	b.ends[(b.first+b.n)%maxInflight] = at
	b.n++
}

// reset drops the blocks; index entries before seq are released.
func (b *inflight) reset(seq uint64) {
	b.first, b.n, b.last = 0, 0, false
	b.seq = max(b.seq, seq)
}

func (b *inflight) oldest() position { return b.ends[b.first%maxInflight] }

func (b *inflight) pop() {
	b.first = (b.first + 1) % maxInflight
	b.n--
}

// ReadBlock waits for the stream's next bytes up to a stream offset that is a
// multiple of max, so that blocks stay aligned, or up to the end of the segment. It
// returns them as they lie in the stream. A record may begin in one block and end
// in the next. Only the stream's last block may be shorter; after it ReadBlock
// returns io.EOF.
//
// The bytes stay in place until Consume; several blocks may be in flight. It
// returns ErrReadAhead if the next block cannot come before one of them is
// consumed, and ErrOverrun if a lossy reader has lost blocks. Only the first call
// allocates.
func (l *Listener) ReadBlock(ctx context.Context, max int) ([]byte, error) {
	if !l.enter() {
		return nil, ErrClosed
	}
	defer l.exit()
	if l.member != nil {
		return nil, errors.New("read block: a member of a fan-out group reads packets")
	}
	if max < 1 {
		return nil, fmt.Errorf("read block of %d bytes: choose 1 or more", max)
	}
	if err := l.prepareGather(); err != nil {
		return nil, err
	}
	size := l.blockBytes()
	if uint64(max)+MaxRecord > size {
		return nil, fmt.Errorf("read block of %d bytes: a buffer of %d bytes cannot hold it. Choose a larger buffer", max, size)
	}
	if err := l.prepare(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	want := (l.next.offset/uint64(max) + 1) * uint64(max)
	// The producer stops less than one record short of a whole buffer beyond what
	// this listener has released.
	if l.blocks.n == maxInflight || want+MaxRecord > l.released.offset+size {
		return nil, ErrReadAhead
	}
	for w := l.blockWaiter(); ; {
		ended := l.endOfStream() // before Head, which is final then
		segments := l.cur.Segments.Load()
		head := l.cur.Head.Load() // A2, pairs with R2 in publish
		end, last := want, false
		if next, ok := l.segmentEnd(); ok && next <= end {
			end, last = next, true
		}
		if ended != nil && head < end {
			end, last = head, false
		}
		if l.gathered != nil {
			l.gatherBytes(min(head, end), head)
		} else {
			l.releaseEntries(min(head, end))
		}
		if l.lossy && l.overwritten(l.kept()) {
			l.skipAhead()
			return nil, ErrOverrun
		}
		if end > l.next.offset && head >= end {
			return l.deliver(end, last), nil
		}
		if err := l.checkWait(ctx, ended); err != nil {
			return nil, err
		}
		if !l.awaitBlock(ctx, end, segments) {
			w.wait()
		}
	}
}

// SegmentEnd reports whether the block that ReadBlock returned last ends its
// segment; the next block belongs to the next file then.
func (l *Listener) SegmentEnd() bool { return l.blocks.last }

// BlockFrames is the number of frames that begin in the block that ReadBlock
// returned last.
func (l *Listener) BlockFrames() int { return l.blocks.frames }

// Offset is the stream offset of the next block, in bytes.
func (l *Listener) Offset() uint64 { return l.next.offset }

// InFlight is the number of bytes that ReadBlock has returned and Consume has not
// released.
func (l *Listener) InFlight() int { return int(l.next.offset - l.released.offset) }

func (l *Listener) deliver(end uint64, last bool) []byte {
	data, mask := l.data, l.mask
	if l.gathered != nil {
		data, mask = l.gathered.bytes, l.gathered.mask
	}
	at, n := l.next.offset&mask, end-l.next.offset
	l.blocks.frames = int(l.blocks.seq - l.next.seq)
	l.next = position{end, l.blocks.seq}
	l.blocks.push(l.next)
	l.blocks.last = last
	return data[at : at+n : at+n]
}

// segmentEnd returns the end of the segment that the next byte lies in: where the
// next segment begins. It returns false if that is not known yet.
func (l *Listener) segmentEnd() (uint64, bool) {
	n := l.cur.Segments.Load() // A3, pairs with R3 in pad
	end, found := uint64(0), false
	for i := n; i > 0 && n-i+1 < uint64(len(l.starts)); i-- {
		at := l.starts[(i-1)&uint64(len(l.starts)-1)].Offset.Load()
		if at <= l.next.offset {
			break
		}
		end, found = at, true
	}
	return end, found
}

// releaseEntries counts the frames before a stream offset and releases their index
// entries, which a reader of bytes does not need: the index may be full long before
// the data.
func (l *Listener) releaseEntries(before uint64) {
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
		l.account.release(l.released.offset, seq)
	}
}

// Consume releases the oldest n bytes that ReadBlock has returned. For a lossy
// listener it returns ErrOverrun if they may have been overwritten while in use; all
// blocks in flight are void then.
func (l *Listener) Consume(n int) error {
	if !l.enter() {
		return ErrClosed
	}
	defer l.exit()
	if err := l.updatePolicy(); err != nil {
		return err
	}
	if n < 0 || l.released.offset+uint64(n) > l.next.offset {
		return fmt.Errorf("consume %d bytes: %d are in flight", n, l.InFlight())
	}
	if l.lossy && l.gathered == nil && l.overwritten(l.released) {
		l.skipAhead()
		return ErrOverrun
	}
	l.readBytes += uint64(n)
	l.released.offset += uint64(n)
	for l.blocks.n > 0 && l.blocks.oldest().offset <= l.released.offset {
		at := l.blocks.oldest()
		l.read += at.seq - l.released.seq
		l.released.seq = at.seq
		l.blocks.pop()
	}
	l.publish()
	return nil
}

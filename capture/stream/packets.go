package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/ixcap/ixcap/ring"
)

// Packet is one frame of the stream.
type Packet struct {
	Data []byte    // what was stored of the frame
	Sec  uint32    // stamp: seconds since 1970, UTC
	Nsec uint32    // and nanoseconds, below 1e9
	Hash uint32    // RSS hash, valid with ring.HasHash
	Len  uint16    // bytes on the wire, without CRC
	VLAN uint16    // 802.1Q tag, valid with ring.HasVLAN
	Info ring.Info // what the device reported, and Truncated
	_    uint16

	end uint64 // stream offset behind the record
}

// Time is the packet's stamp.
func (p *Packet) Time() time.Time { return time.Unix(int64(p.Sec), int64(p.Nsec)) }

// UnixNano is the packet's stamp in nanoseconds since 1970.
func (p *Packet) UnixNano() int64 { return int64(p.Sec)*1e9 + int64(p.Nsec) }

// batchSize is the number of packets that Packets reads at once, so that it touches
// the cache lines shared with the producer once for all of them.
const batchSize = 64

// Packets iterates over the stream's frames until the stream ends, ctx is done or
// the listener is closed; Err then returns which. A packet's Data lies in the stream
// itself (for a lossy listener in a copy) and is valid until the next iteration.
func (l *Listener) Packets(ctx context.Context) iter.Seq[Packet] {
	return func(yield func(Packet) bool) {
		if !l.enter() {
			l.err = ErrClosed
			return
		}
		defer l.exit()
		if l.batch == nil {
			l.batch = make([]Packet, batchSize)
		}
		for {
			n, err := l.readBatch(ctx, l.batch)
			if err != nil {
				l.err = err
				return
			}
			first := l.next.seq - uint64(n)
			for i := range n {
				if !l.delivering(i) {
					l.err = l.checkAttached()
					return
				}
				if !yield(l.batch[i]) {
					// The reader has not seen the rest of the batch.
					l.stopAfter(i, first+uint64(i))
					l.release()
					l.err = nil
					return
				}
				l.delivered(i)
			}
		}
	}
}

// Err returns why the last loop over Packets ended: nil at the end of the stream
// and after a break.
func (l *Listener) Err() error {
	if errors.Is(l.err, io.EOF) {
		return nil
	}
	return l.err
}

// ReadBatch waits for at least one frame, fills packets with the frames available,
// and returns their number, or io.EOF at the end of the stream. It releases the
// packets of the call before, which are no longer valid. It does not allocate.
func (l *Listener) ReadBatch(ctx context.Context, packets []Packet) (int, error) {
	if !l.enter() {
		return 0, ErrClosed
	}
	n, err := l.readBatch(ctx, packets)
	l.deliveringAll()
	l.exit()
	return n, err
}

// stopAfter makes packet i of the last batch, frame seq of a listener in no group, the
// last one that was returned.
func (l *Listener) stopAfter(i int, seq uint64) {
	if m := l.member; m != nil {
		if m.handed != 0 {
			return
		}
		seq = m.stopAfter(i, l.batch)
	}
	l.next = position{l.batch[i].end, seq + 1}
}

func (l *Listener) readBatch(ctx context.Context, packets []Packet) (int, error) {
	if len(packets) == 0 {
		return 0, errors.New("read packets: no room for a packet")
	}
	if err := l.prepare(ctx); err != nil {
		return 0, err
	}
	l.release()
	for {
		if l.handoverWaits() {
			if n := l.readHandover(packets); n > 0 {
				return n, nil
			}
			l.release()
		}
		n, err := l.available(ctx)
		if err != nil {
			return 0, err
		}
		if l.member != nil {
			if n = l.take(packets, n); n > 0 {
				return n, nil
			}
			continue
		}
		n = min(n, len(packets))
		if l.lossy {
			if n = l.copyFrames(packets[:n]); n == 0 {
				continue // overrun
			}
		} else {
			n = l.readInPlace(packets[:n])
		}
		l.next = position{packets[n-1].end, l.next.seq + uint64(n)}
		return n, nil
	}
}

// release releases the packets returned last.
func (l *Listener) release() {
	if l.released == l.next && (l.member == nil || l.member.handed == 0) {
		return
	}
	if l.member != nil {
		l.releaseMember()
	} else {
		l.read += l.next.seq - l.released.seq
		l.readBytes += l.next.offset - l.released.offset
		l.released = l.next
	}
	l.blocks.reset(l.released.seq)
	l.publish()
}

// available waits for frames and returns their number, at most the number of index
// entries, whatever the memory contains.
func (l *Listener) available(ctx context.Context) (int, error) {
	if err := l.checkOpen(ctx); err != nil {
		return 0, err
	}
	for w := (waiter{}); ; {
		if l.visible > l.next.seq {
			return int(min(l.visible-l.next.seq, uint64(len(l.index)))), nil
		}
		// A2: in this order, since Head is final when Finished is set, and
		// IndexHead counts all frames before Head. Pairs with R2 in publish.
		end := l.endOfStream()
		head := l.cur.Head.Load()
		l.visible = l.cur.IndexHead.Load()
		if l.visible > l.next.seq {
			continue
		}
		if l.handoverWaits() {
			return 0, nil
		}
		if head > l.next.offset {
			// Padding only: the producer may need the room.
			l.next.offset = head
			l.release()
		}
		if err := l.wait(ctx, &w, end); err != nil {
			return 0, err
		}
	}
}

// readInPlace fills packets with the next frames where they lie, as many as there is room
// for, and returns their number. They stay there: the producer waits for a lossless
// listener. A frame in several buffers is copied.
func (l *Listener) readInPlace(packets []Packet) int {
	seq, wrap := l.next.seq, uint64(len(l.index)-1)
	free := l.scratch
	for i := range packets {
		e := &l.index[(seq+uint64(i))&wrap]
		rec := l.record(e)
		p := &packets[i]
		stamp := binary.LittleEndian.Uint64(rec)
		p.Data = rec[RecordHeader:]
		if caplen := uint64(e.Caplen); l.pool.parts(caplen) {
			if caplen > uint64(len(free)) {
				return i
			}
			p.Data = l.gather(free, e, caplen)
			free = free[caplen:]
		}
		p.Sec, p.Nsec = uint32(stamp), uint32(stamp>>32)
		p.Hash, p.VLAN, p.Info, p.Len = e.Hash, e.VLAN, ring.Info(e.Info), e.Len
		p.end = e.Offset + RecordHeader + uint64(len(p.Data))
	}
	return len(packets)
}

// copyFrames fills packets with copies of the next frames, as many as there is room
// for. It drops those that may have been overwritten during the copy, and returns
// the number of the others. If that is 0, it has skipped ahead.
func (l *Listener) copyFrames(packets []Packet) int {
	if l.overwritten(l.next) {
		l.skipAhead()
		return 0
	}
	free, n := l.scratch, 0
	var first [batchSize]uint64 // offsets
	for n < min(len(packets), len(first)) {
		e := *l.entry(l.next.seq + uint64(n)) // may be torn: not trusted before the check below
		size := uint64(e.Caplen)
		if size > uint64(len(free)) {
			break
		}
		stamp := binary.LittleEndian.Uint64(l.data[l.at(&e):])
		data := l.gather(free, &e, size)
		free = free[size:]
		packets[n] = Packet{
			Data: data, Sec: uint32(stamp), Nsec: uint32(stamp >> 32),
			Hash: e.Hash, VLAN: e.VLAN, Info: ring.Info(e.Info), Len: e.Len,
			end: e.Offset + RecordHeader + size,
		}
		first[n] = e.Offset
		n++
	}
	// The overwritten frames are a prefix: the producer writes in order.
	drop := 0
	for drop < n && l.overwritten(position{first[drop], l.next.seq + uint64(drop)}) {
		drop++
	}
	if drop == n {
		l.skipAhead()
		return 0
	}
	if drop > 0 {
		l.countOverrun(position{first[drop], l.released.seq + uint64(drop)})
		copy(packets, packets[drop:n])
	}
	return n - drop
}

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
	Info ring.Info // what the device found out, and Truncated
	_    uint16

	end uint64 // stream offset behind the record
}

// Time is the packet's stamp.
func (p *Packet) Time() time.Time { return time.Unix(int64(p.Sec), int64(p.Nsec)) }

// UnixNano is the packet's stamp in nanoseconds since 1970.
func (p *Packet) UnixNano() int64 { return int64(p.Sec)*1e9 + int64(p.Nsec) }

// batchSize is how many packets Packets takes at once, so that the lines shared
// with the producer are touched once for all of them.
const batchSize = 64

// Packets walks the stream's frames until it ends, ctx is done or the listener is
// closed; Err then tells which. A packet's Data lies in the stream itself (for a
// lossy listener in a copy, since the stream may be overwritten) and is valid
// until the next iteration.
func (l *Listener) Packets(ctx context.Context) iter.Seq[Packet] {
	return func(yield func(Packet) bool) {
		if !l.enter() {
			l.err = ErrClosed
			return
		}
		defer l.leave()
		if l.batch == nil {
			l.batch = make([]Packet, batchSize)
		}
		for {
			n, err := l.readBatch(ctx, l.batch)
			if err != nil {
				l.err = err
				return
			}
			first := l.ahead.seq - uint64(n)
			for i := range n {
				if !yield(l.batch[i]) {
					// The rest has not been seen: it is not read.
					l.ahead = position{l.batch[i].end, first + uint64(i) + 1}
					l.release()
					l.err = nil
					return
				}
			}
		}
	}
}

// Err says why the last loop over Packets ended: nil at the end of the stream
// and when the loop was left.
func (l *Listener) Err() error {
	if errors.Is(l.err, io.EOF) {
		return nil
	}
	return l.err
}

// ReadBatch waits for at least one frame, fills packets with what is there, and
// returns how many; io.EOF at the end of the stream. What the last call handed
// out is given back and no longer valid. It does not allocate.
func (l *Listener) ReadBatch(ctx context.Context, packets []Packet) (int, error) {
	if !l.enter() {
		return 0, ErrClosed
	}
	n, err := l.readBatch(ctx, packets)
	l.leave()
	return n, err
}

func (l *Listener) readBatch(ctx context.Context, packets []Packet) (int, error) {
	if len(packets) == 0 {
		return 0, errors.New("read packets: no room for a packet")
	}
	if err := l.ready(ctx); err != nil {
		return 0, err
	}
	l.release()
	for {
		n, err := l.available(ctx)
		if err != nil {
			return 0, err
		}
		n = min(n, len(packets))
		if l.lossy {
			if n = l.copyFrames(packets[:n]); n == 0 {
				continue // overtaken meanwhile
			}
		} else {
			l.takeFrames(packets[:n])
		}
		l.ahead = position{packets[n-1].end, l.ahead.seq + uint64(n)}
		return n, nil
	}
}

// release gives back what was handed out.
func (l *Listener) release() {
	if l.given == l.ahead {
		return
	}
	l.read += l.ahead.seq - l.given.seq
	l.readBytes += l.ahead.offset - l.given.offset
	l.given = l.ahead
	l.blocks.reset(l.given.seq)
	l.publish()
}

// available waits until there are frames ahead and returns how many; not more
// than the index has entries, whatever the memory says.
func (l *Listener) available(ctx context.Context) (int, error) {
	if err := l.gone(ctx); err != nil {
		return 0, err
	}
	for w := (waiter{}); ; {
		if l.visible > l.ahead.seq {
			return int(min(l.visible-l.ahead.seq, uint64(len(l.index)))), nil
		}
		// In this order: when Finished is set, Head is final; all entries of
		// frames before Head are counted by IndexHead. Acquires, they pair
		// with the releases in Producer.publish and Finish.
		end := l.over()
		head := l.cur.Head.Load()
		l.visible = l.cur.IndexHead.Load()
		if l.visible > l.ahead.seq {
			continue
		}
		if head > l.ahead.offset {
			// Padding only: the producer may be waiting for it.
			l.ahead.offset = head
			l.release()
		}
		if err := l.wait(ctx, &w, end); err != nil {
			return 0, err
		}
	}
}

// takeFrames fills packets with the frames ahead, which are there and stay
// there: the producer waits for a lossless listener.
func (l *Listener) takeFrames(packets []Packet) {
	seq, wrap := l.ahead.seq, uint64(len(l.index)-1)
	for i := range packets {
		e := &l.index[(seq+uint64(i))&wrap]
		size := uint64(RecordHeader) + uint64(e.Caplen)
		at := e.Offset & l.mask
		rec := l.data[at : at+size : at+size]
		p := &packets[i]
		stamp := binary.LittleEndian.Uint64(rec)
		p.Data = rec[RecordHeader:]
		p.Sec, p.Nsec = uint32(stamp), uint32(stamp>>32)
		p.Hash, p.VLAN, p.Info, p.Len = e.Hash, e.VLAN, ring.Info(e.Info), e.Len
		p.end = e.Offset + size
	}
}

// copyFrames fills packets with copies of the frames ahead, as many as there is
// room for, throws those away that may have been overwritten meanwhile, and
// returns how many are left; after 0 it has skipped ahead.
func (l *Listener) copyFrames(packets []Packet) int {
	if l.overtaken(l.ahead) {
		l.skip()
		return 0
	}
	free, n := l.scratch, 0
	var first [batchSize]uint64 // offsets
	for n < min(len(packets), len(first)) {
		e := *l.entry(l.ahead.seq + uint64(n)) // may be torn: nothing in it is believed yet
		size := uint64(e.Caplen)
		if size > uint64(len(free)) {
			break
		}
		at := e.Offset & l.mask
		rec := l.data[at : at+RecordHeader+size]
		stamp := binary.LittleEndian.Uint64(rec)
		data := free[:size:size]
		free = free[copy(data, rec[RecordHeader:]):]
		packets[n] = Packet{
			Data: data, Sec: uint32(stamp), Nsec: uint32(stamp >> 32),
			Hash: e.Hash, VLAN: e.VLAN, Info: ring.Info(e.Info), Len: e.Len,
			end: e.Offset + RecordHeader + size,
		}
		first[n] = e.Offset
		n++
	}
	// What is overtaken is a prefix: the producer writes in order.
	drop := 0
	for drop < n && l.overtaken(position{first[drop], l.ahead.seq + uint64(drop)}) {
		drop++
	}
	if drop == n {
		l.skip()
		return 0
	}
	if drop > 0 {
		l.miss(position{first[drop], l.given.seq + uint64(drop)})
		copy(packets, packets[drop:n])
	}
	return n - drop
}

package stream

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/stream/entry"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// Pool is a memory of packet buffers in which a device has put frames. A stream with a
// pool copies no frame: an index entry says where it lies (Entry.Place), and the producer
// writes the record's header before it, into the buffer's headroom. Offsets are those of
// the records that a copying stream would have.
//
//	buffer b at b*Stride:  | Headroom ... header | frame, up to BufferSize bytes | the rest in buffer b+1 ...
//	                                      ^ Entry.Place
type Pool struct {
	Memory     *hugepage.Memory // of all buffers; it outlives the stream, which seals it
	Buffers    int              // used in turn: the one after the last is the first
	Stride     int              // from one to the next, in bytes, a multiple of 4
	Headroom   int              // bytes before the frame, at least RecordHeader, a multiple of 4
	BufferSize int              // bytes of a frame in one buffer
}

const placeUnit = entry.PlaceUnit

func (p *Pool) valid() bool {
	h := header{Buffers: uint32(p.Buffers), Stride: uint32(p.Stride), Headroom: uint32(p.Headroom), Buffer: uint32(p.BufferSize), PoolBytes: uint64(p.Memory.Len())}
	return p.Buffers > 0 && h.poolFits(uint64(p.Memory.Len()))
}

// poolFits reports whether all places of the pool lie in its memory, which can be mapped.
func (h *header) poolFits(bytes uint64) bool {
	return h.PoolBytes == bytes && bytes >= MaxRecord && bytes <= placeUnit<<32 &&
		h.Buffers > 0 && h.Stride%placeUnit == 0 && h.Headroom%placeUnit == 0 && h.Headroom >= RecordHeader && h.Buffer > 0 &&
		uint64(h.Headroom)+uint64(h.Buffer) <= uint64(h.Stride) && uint64(h.Buffers)*uint64(h.Stride) <= bytes
}

// places says where the records of a stream with a pool lie.
type places struct{ buffers, stride, headroom, buffer uint64 }

func poolView(h *header) places {
	return places{uint64(h.Buffers), uint64(h.Stride), uint64(h.Headroom), uint64(h.Buffer)}
}

func newView(data []byte, h *header, c controlView) view {
	if h.PoolBytes != 0 {
		data = data[:h.PoolBytes]
	}
	return view{data: data, mask: h.DataBytes - 1, pool: poolView(h), starts: c.starts, index: c.index, cur: c.cursors}
}

// parts reports whether caplen bytes of a frame lie in several buffers.
func (p *places) parts(caplen uint64) bool { return p.stride != 0 && caplen > p.buffer }

// at returns where an entry's record lies in the data memory: its header and the first
// caplen bytes, or those in the first buffer. An entry that is torn or wrong gets a place
// within the memory.
func (v *view) at(e *Entry, caplen uint64) uint64 {
	if v.pool.stride == 0 {
		return e.Offset & v.mask
	}
	at := uint64(e.Place) * placeUnit
	if at+RecordHeader+caplen > uint64(len(v.data)) {
		if !v.pool.parts(caplen) || at+RecordHeader > uint64(len(v.data)) {
			return 0
		}
	}
	return at
}

// record returns an entry's record, of a frame in several buffers the first one's part.
func (v *view) record(e *Entry) []byte {
	caplen := uint64(e.Caplen)
	at := v.at(e, caplen)
	if v.pool.parts(caplen) {
		caplen = min(v.pool.buffer, uint64(len(v.data))-at-RecordHeader)
	}
	return v.data[at : at+RecordHeader+caplen : at+RecordHeader+caplen]
}

// gather copies caplen bytes of an entry's frame to the begin of b, which has room.
func (v *view) gather(b []byte, e *Entry, caplen uint64) []byte {
	b = b[:caplen:caplen]
	at := v.at(e, caplen) + RecordHeader
	if !v.pool.parts(caplen) {
		copy(b, v.data[at:])
		return b
	}
	p := &v.pool
	buffer := at / p.stride % p.buffers
	for to := b; len(to) > 0; buffer = (buffer + 1) % p.buffers {
		at = buffer*p.stride + p.headroom
		to = to[copy(to, v.data[at:at+p.buffer]):]
	}
	return b
}

// oldestPlaced is oldest in a pool, with a margin of frames: short ones fill few of its bytes.
func (v *view) oldestPlaced(margin uint64, now position) position {
	entries, first := uint64(len(v.index)), uint64(0)
	if r := v.cur.ReserveSeq.Load(); r > entries {
		first = r - entries
	}
	if first < now.seq {
		first += (now.seq - first) * (margin >> 10) / ((v.mask + 1) >> 10)
	}
	if first >= now.seq {
		return now
	}
	return position{v.entry(first).Offset, first}
}

// Place adds frames to the stream that lie in its pool (ring.Frame.Buffer), under the
// stamps given, keep[i] bytes of each; of a frame with 0 nothing.
func (p *Producer) Place(stamps []clock.Stamp, keep []uint32, frames []ring.Frame) {
	pool := p.stream.config.Pool
	stride, before := uint64(pool.Stride), uint64(pool.Headroom-RecordHeader)
	for i := range frames {
		f := &frames[i]
		kept := uint64(min(keep[i], f.Len))
		if kept == 0 {
			continue
		}
		if f.Len > MaxFrame {
			p.refuse(tooLong)
			continue
		}
		size := RecordHeader + kept
		if p.pos+size+RecordHeader > p.segEnd && !p.makeRoom(size) {
			continue // finished
		}
		at := uint64(f.Buffer)*stride + before
		rec := p.data[at : at+RecordHeader]
		stamp := max(uint64(stamps[i]), 1)
		binary.LittleEndian.PutUint64(rec, stamp)
		binary.LittleEndian.PutUint32(rec[8:], uint32(kept)|f.Len<<16)
		e := &p.index[p.seq&uint64(len(p.index)-1)]
		e.Offset, e.Place = p.pos, uint32(at/placeUnit)
		e.Hash, e.VLAN, e.Info = f.Hash, f.VLAN, uint16(f.Info)
		e.Caplen, e.Len = uint16(kept), uint16(f.Len)
		if kept < uint64(f.Len) {
			e.Info |= uint16(Truncated)
			p.truncated++
		}
		p.pos += size
		p.seq++
	}
}

// Reuse announces that the buffers of all frames before number seq will be overwritten, so
// that they may be returned to the device. It returns false, and nothing is announced, if
// a lossless listener has not released one of them.
func (p *Producer) Reuse(seq uint64) bool {
	entries, size := uint64(len(p.index)), p.mask+1
	if seq == 0 || seq+entries <= p.reserveSeq {
		return true
	}
	// The end of the last frame, before padding: a listener that stands there has lost none.
	last := &p.index[(seq-1)&(entries-1)]
	offset := last.Offset + RecordHeader + uint64(last.Caplen)
	if p.pos != p.published {
		p.publish()
	}
	was, wasSeq := p.reserve, p.reserveSeq
	if last := p.scanListeners(); p.slowestSeq < seq+entries {
		p.blocker = last
		return false // seen without an announcement, which would disturb lossy listeners
	}
	p.announce(offset+size, seq+entries)
	if last := p.scanListeners(); p.slowestSeq < seq+entries {
		p.announce(was, wasSeq) // nothing was overwritten
		p.blocker = last
		return false
	}
	return true
}

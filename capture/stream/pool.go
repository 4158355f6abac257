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
	Memory     *hugepage.Memory // of all buffers; the stream holds it, and seals it
	Buffers    int              // used in turn: the one after the last is the first
	Stride     int              // from one to the next, in bytes, a multiple of 4
	Headroom   int              // bytes before the frame, at least RecordHeader, a multiple of 4
	BufferSize int              // bytes of a frame in one buffer
}

const placeUnit = entry.PlaceUnit

// MaxPool is the largest memory of a pool in bytes: what Entry.Place reaches.
const MaxPool = placeUnit << 32

func (p *Pool) valid() bool {
	h := header{Buffers: uint32(p.Buffers), Stride: uint32(p.Stride), Headroom: uint32(p.Headroom), Buffer: uint32(p.BufferSize), PoolBytes: uint64(p.Memory.Len())}
	return p.Buffers > 0 && h.poolFits(uint64(p.Memory.Len()))
}

// poolFits reports whether all places of the pool lie in its memory, which has so many bytes.
func (h *header) poolFits(bytes uint64) bool {
	return h.PoolBytes == bytes && bytes <= MaxPool &&
		h.Buffers > 0 && h.Stride%placeUnit == 0 && h.Headroom%placeUnit == 0 && h.Headroom >= RecordHeader && h.Buffer > 0 &&
		uint64(h.Headroom)+uint64(h.Buffer) <= uint64(h.Stride) && uint64(h.Buffers)*uint64(h.Stride) <= bytes
}

// poolSize is DataBytes of a stream with a pool.
func poolSize(bytes uint64) uint64 { return max(ceilPow2(bytes), Block) }

// places says where the records of a stream with a pool lie.
type places struct {
	buffers, stride, headroom uint64 // 0 without a pool
	buffer                    uint64 // bytes of a frame that follow its record's header; without a pool all
	last                      uint64 // the last place that a record can have
}

// newView returns a view of a stream's memories. data is mapped twice in a row, a pool once
// or more.
func newView(data []byte, h *header, c controlView) view {
	v := view{data: data, mask: h.DataBytes - 1, pool: places{buffer: MaxFrame}, starts: c.starts, index: c.index, cur: c.cursors}
	if h.PoolBytes != 0 {
		v.pool = places{
			buffers: uint64(h.Buffers), stride: uint64(h.Stride), headroom: uint64(h.Headroom),
			buffer: uint64(h.Buffer), last: h.PoolBytes - RecordHeader - uint64(h.Buffer),
		}
	}
	return v
}

// parts reports whether caplen bytes of a frame lie in several buffers.
func (p *places) parts(caplen uint64) bool { return caplen > p.buffer }

// at returns where an entry's record lies in the data memory: its header, and its frame or
// what its first buffer has of it. An entry that is torn or wrong gets a place within the
// memory.
func (v *view) at(e *Entry) uint64 {
	if v.pool.stride == 0 {
		return e.Offset & v.mask
	}
	if at := uint64(e.Place) * placeUnit; at <= v.pool.last {
		return at
	}
	return 0
}

// record returns an entry's record, of a frame in several buffers the first one's part.
func (v *view) record(e *Entry) []byte {
	at := v.at(e)
	end := at + RecordHeader + min(uint64(e.Caplen), v.pool.buffer)
	return v.data[at:end:end]
}

// gather copies caplen bytes of an entry's frame to the begin of b, which has room.
func (v *view) gather(b []byte, e *Entry, caplen uint64) []byte {
	b = b[:caplen:caplen]
	at := v.at(e) + RecordHeader
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

// whole returns an entry's record, of a frame in several buffers a copy in b, which has room.
func (v *view) whole(e *Entry, b []byte) []byte {
	rec, caplen := v.record(e), uint64(e.Caplen)
	if !v.pool.parts(caplen) {
		return rec
	}
	copy(b, rec[:RecordHeader])
	v.gather(b[RecordHeader:], e, caplen)
	return b[:RecordHeader+caplen]
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

// holds reports whether the first kept bytes of a frame lie where readers look for them. A
// device that fills a buffer in part before it goes on, or drops frames so that chunks change
// their order, puts them elsewhere.
func (p *Pool) holds(f *ring.Frame, kept uint64) bool {
	size := uint64(p.BufferSize)
	if kept <= size {
		return uint64(len(f.Data)) >= kept
	}
	if uint64(len(f.Data)) != size {
		return false
	}
	buffer := int(f.Buffer)
	left := kept - size
	for i := 0; left > 0; i++ {
		buffer = (buffer + 1) % p.Buffers
		part := min(left, size)
		at := buffer*p.Stride + p.Headroom
		if i == len(f.Rest) || uint64(len(f.Rest[i])) < part || &f.Rest[i][0] != &p.Memory.Bytes()[at] {
			return false
		}
		left -= part
	}
	return true
}

// Place adds frames to the stream that lie in its pool (ring.Frame.Buffer), under the
// stamps given, keep[i] bytes of each; of a frame with 0 nothing. A frame that lies there in
// another way than readers expect is refused (Stats.Inconsistent).
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
		if !pool.holds(f, kept) {
			p.refuse(inconsistent)
			continue
		}
		size := RecordHeader + kept
		if p.pos+size+RecordHeader > p.segEnd && !p.makeRoom(size) {
			continue // finished
		}
		at := uint64(f.Buffer)*stride + before
		rec := p.data[at : at+RecordHeader]
		binary.LittleEndian.PutUint64(rec, recordStamp(uint64(stamps[i])))
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
	if p.slowestSeq < seq+entries {
		if last := p.scanListeners(); p.slowestSeq < seq+entries {
			p.blocker = last
			return false // seen without an announcement, which would disturb lossy listeners
		}
	}
	p.announce(offset+size, seq+entries)
	if last := p.scanListeners(); p.slowestSeq < seq+entries {
		p.announce(was, wasSeq) // nothing was overwritten
		p.blocker = last
		return false
	}
	return true
}

// heldBytes returns the size of the buffers between the frame number from and the last one
// before to, those of dropped frames included.
func (s *Stream) heldBytes(from, to uint64) uint64 {
	if from >= to {
		return 0
	}
	p, index := s.config.Pool, s.view.index
	buffer := func(seq uint64) int {
		return int(index[seq&uint64(len(index)-1)].Place) * placeUnit / p.Stride
	}
	n := (buffer(to-1)+p.Buffers-buffer(from))%p.Buffers + 1
	return uint64(n * p.Stride)
}

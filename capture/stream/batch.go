package stream

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// AppendBatch stamps frames one after the other and stores them as Append does,
// until a lossless listener holds the producer back. It returns how many were
// stored or refused; the frame after those has no stamp yet. The stamper must
// have been updated.
//
// It is the hot path of a capture. The fast path takes runs of frames in one
// buffer each that are stored whole; it checks no listener and keeps its state in
// registers. Any other frame takes the slow path.
func (p *Producer) AppendBatch(st *clock.Stamper, frames []ring.Frame, caplen int) int {
	most := uint64(MaxFrame)
	if caplen > 0 {
		most = min(most, uint64(caplen))
	}
	prefetchFirst(frames)
	for i := 0; i < len(frames); i++ {
		i += p.fastRun(st, frames[i:], most)
		if i == len(frames) {
			break
		}
		f := &frames[i]
		if !p.ready(f, min(uint64(f.Len), most)) {
			return i
		}
		at := st.Stamp()
		if !p.Append(at.Sec(), at.Nsec(), f, caplen) {
			return i
		}
		p.wireBytes += uint64(f.Len)
	}
	return len(frames)
}

// WireBytes is the length on the wire of all frames that AppendBatch stored or
// refused, in bytes.
func (p *Producer) WireBytes() uint64 { return p.wireBytes }

// ready reports whether Append can store or refuse a frame now, so that a frame
// that is held back gets no stamp.
func (p *Producer) ready(f *ring.Frame, keep uint64) bool {
	if f.Len > MaxFrame || p.finished {
		return true
	}
	size := RecordHeader + keep
	return p.pos+size <= p.endPos && p.seq < p.endSeq || p.makeRoom(size)
}

// window is where the next frame goes, and how far the fast path may write.
type window struct {
	pos, seq       uint64
	endPos, endSeq uint64
	mask, wrap     uint64
	most           uint64 // length of the longest frame that the fast path takes
	truncated      uint64 // frames cut; fastAppend cuts none
}

// fastRun stores frames up to the first that needs the slow path, and returns how many.
func (p *Producer) fastRun(st *clock.Stamper, frames []ring.Frame, most uint64) int {
	line := st.Line()
	if line == nil {
		return 0
	}
	at := window{
		pos: p.pos, seq: p.seq, endPos: p.endPos, endSeq: p.endSeq,
		mask: p.mask, wrap: uint64(len(p.index) - 1), most: most,
	}
	n := fastAppend(p.data, p.index, frames, &at, line)
	p.wireBytes += at.pos - p.pos - RecordHeader*uint64(n)
	p.pos, p.seq = at.pos, at.seq
	return n
}

// fastAppendGo is fastAppend in Go, for architectures without assembly and as the
// reference for its tests. tick reads the counter.
func fastAppendGo(data []byte, index []Entry, frames []ring.Frame, at *window, line *clock.Line, tick func() uint64) int {
	pos, seq := at.pos, at.seq
	n := 0
	for n < len(frames) {
		f := &frames[n]
		length := uint64(f.Len)
		size := RecordHeader + length
		if uint64(len(f.Data)) != length || length > at.most || pos+size > at.endPos || seq >= at.endSeq {
			break
		}
		stamp, ok := line.Stamp(tick())
		if !ok {
			break
		}
		rec := data[pos&at.mask:][:size]
		binary.LittleEndian.PutUint64(rec, uint64(stamp))
		binary.LittleEndian.PutUint32(rec[8:], uint32(length|length<<16))
		copy(rec[RecordHeader:], f.Data)

		e := &index[seq&at.wrap]
		e.Offset = pos
		e.Hash, e.VLAN, e.Info = f.Hash, f.VLAN, uint16(f.Info)
		e.Caplen, e.Len = uint16(length), uint16(length)
		pos += size
		seq++
		n++
	}
	at.pos, at.seq = pos, seq
	return n
}

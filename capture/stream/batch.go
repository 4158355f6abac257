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
// It is the hot path of a capture. Runs of plain frames, one buffer each and
// stored whole, are taken by plain, which asks nobody and keeps everything in
// registers; any other frame goes the long way.
func (p *Producer) AppendBatch(st *clock.Stamper, frames []ring.Frame, caplen int) int {
	most := uint64(MaxFrame)
	if caplen > 0 {
		most = min(most, uint64(caplen))
	}
	for i := 0; i < len(frames); i++ {
		i += p.run(st, frames[i:], most)
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

// ready tells whether Append of a frame would not be held back, so that a frame
// that is gets no stamp. A frame to be refused is ready.
func (p *Producer) ready(f *ring.Frame, keep uint64) bool {
	if f.Len > MaxFrame || p.finished {
		return true
	}
	size := RecordHeader + keep
	return p.pos+size <= p.endPos && p.seq < p.endSeq || p.room(size)
}

// place is where the next frame goes, and how far plain may go.
type place struct {
	pos, seq       uint64
	endPos, endSeq uint64
	mask, wrap     uint64
	most           uint64 // length of the longest frame to be taken
	truncated      uint64 // frames cut, which only stamped does
}

// run stores frames as long as they are plain, and returns how many.
func (p *Producer) run(st *clock.Stamper, frames []ring.Frame, most uint64) int {
	line, ok := st.Line()
	if !ok {
		return 0
	}
	at := place{
		pos: p.pos, seq: p.seq, endPos: p.endPos, endSeq: p.endSeq,
		mask: p.mask, wrap: uint64(len(p.index) - 1), most: most,
	}
	n := plain(p.data, p.index, frames, &at, &line)
	p.wireBytes += at.pos - p.pos - RecordHeader*uint64(n)
	p.pos, p.seq = at.pos, at.seq
	st.SetLast(line)
	return n
}

// plainGo is plain where there is no assembly for it, and what that is tested
// against. tick is the counter.
func plainGo(data []byte, index []Entry, frames []ring.Frame, at *place, line *clock.Line, tick func() uint64) int {
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

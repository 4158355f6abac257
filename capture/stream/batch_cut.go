package stream

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// AppendCut is AppendBatch for frames of which at most keep[i] bytes are stored.
// Frames of which 0 are stored are skipped and get no stamp. It returns how many
// frames were stored, refused or skipped. WireBytes does not count them.
//
// The fast path takes runs of frames that are skipped, or that lie in one buffer and
// of which at least 32 bytes are kept. Any other frame takes the slow path.
func (p *Producer) AppendCut(st *clock.Stamper, keep []uint32, frames []ring.Frame) int {
	keep = keep[:len(frames)]
	for i := 0; i < len(frames); i++ {
		i += p.fastRunCut(st, keep[i:], frames[i:])
		if i == len(frames) {
			break
		}
		f := &frames[i]
		if keep[i] == 0 {
			continue
		}
		kept := min(uint64(f.Len), uint64(keep[i]))
		if !p.ready(f, kept) {
			return i
		}
		at := st.Stamp()
		if !p.append(at.Sec(), at.Nsec(), f, kept) {
			return i
		}
	}
	return len(frames)
}

// fastRunCut stores frames up to the first that needs the slow path, and returns how
// many it has stored or skipped.
func (p *Producer) fastRunCut(st *clock.Stamper, keep []uint32, frames []ring.Frame) int {
	line := st.Line()
	if line == nil {
		return 0
	}
	at := window{
		pos: p.pos, seq: p.seq, endPos: p.endPos, endSeq: p.endSeq,
		mask: p.mask, wrap: uint64(len(p.index) - 1), most: MaxFrame,
	}
	n := fastAppendCut(p.data, p.index, frames, keep, &at, line)
	p.pos, p.seq = at.pos, at.seq
	p.truncated += at.truncated
	return n
}

// fastAppendCutGo is fastAppendCut in Go, for architectures without assembly and as the
// reference for its tests. tick reads the counter.
func fastAppendCutGo(data []byte, index []Entry, frames []ring.Frame, keep []uint32, at *window, line *clock.Line, tick func() uint64) int {
	pos, seq := at.pos, at.seq
	n := 0
	for ; n < len(frames); n++ {
		if keep[n] == 0 {
			continue
		}
		f := &frames[n]
		length := uint64(f.Len)
		kept, info := length, uint16(f.Info)
		if uint64(keep[n]) < length {
			kept = uint64(keep[n])
			info |= uint16(Truncated)
		}
		size := RecordHeader + kept
		if uint64(len(f.Data)) != length || length > at.most || pos+size > at.endPos || seq >= at.endSeq {
			break
		}
		stamp, ok := line.Stamp(tick())
		if !ok {
			break
		}
		rec := data[pos&at.mask:][:size]
		binary.LittleEndian.PutUint64(rec, uint64(stamp))
		binary.LittleEndian.PutUint32(rec[8:], uint32(kept|length<<16))
		copy(rec[RecordHeader:], f.Data[:kept])

		e := &index[seq&at.wrap]
		e.Offset = pos
		e.Hash, e.VLAN, e.Info = f.Hash, f.VLAN, info
		e.Caplen, e.Len = uint16(kept), uint16(length)
		if kept < length {
			at.truncated++
		}
		pos += size
		seq++
	}
	at.pos, at.seq = pos, seq
	return n
}

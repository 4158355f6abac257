package stream

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// AppendStamped stores frames under the stamps given, at most keep[i] bytes of
// each (keep nil: all), as Append does, until a lossless listener holds the
// producer back. It returns how many were stored or refused. WireBytes does not
// count them.
//
// The fast path takes runs of frames in one buffer each, of which at least 32
// bytes are kept. Any other frame takes the slow path.
func (p *Producer) AppendStamped(stamps []clock.Stamp, keep []uint32, frames []ring.Frame) int {
	stamps = stamps[:len(frames)]
	prefetchFirst(frames)
	for i := 0; i < len(frames); i++ {
		rest := keep
		if keep != nil {
			rest = keep[i:len(frames)]
		}
		i += p.fastRunStamped(stamps[i:], rest, frames[i:])
		if i == len(frames) {
			break
		}
		f, most := &frames[i], uint64(MaxFrame)
		if keep != nil {
			most = uint64(keep[i])
		}
		if !p.append(stamps[i].Sec(), stamps[i].Nsec(), f, min(uint64(f.Len), most)) {
			return i
		}
	}
	return len(frames)
}

// fastRunStamped stores frames up to the first that needs the slow path, and
// returns how many.
func (p *Producer) fastRunStamped(stamps []clock.Stamp, keep []uint32, frames []ring.Frame) int {
	at := window{
		pos: p.pos, seq: p.seq, endPos: p.endPos, endSeq: p.endSeq,
		mask: p.mask, wrap: uint64(len(p.index) - 1), most: MaxFrame,
	}
	n := fastAppendStamped(p.data, p.index, frames, stamps, keep, &at)
	p.pos, p.seq = at.pos, at.seq
	p.truncated += at.truncated
	return n
}

// fastAppendStampedGo is fastAppendStamped in Go, for architectures without
// assembly and as the reference for its tests.
func fastAppendStampedGo(data []byte, index []Entry, frames []ring.Frame, stamps []clock.Stamp, keep []uint32, at *window) int {
	pos, seq := at.pos, at.seq
	n := 0
	for n < len(frames) {
		f := &frames[n]
		length := uint64(f.Len)
		kept, info := length, uint16(f.Info)
		if keep != nil && uint64(keep[n]) < length {
			kept = uint64(keep[n])
			info |= uint16(Truncated)
		}
		size := RecordHeader + kept
		if uint64(len(f.Data)) != length || length > at.most || pos+size > at.endPos || seq >= at.endSeq || stamps[n] == 0 {
			break
		}
		rec := data[pos&at.mask:][:size]
		binary.LittleEndian.PutUint64(rec, uint64(stamps[n]))
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
		n++
	}
	at.pos, at.seq = pos, seq
	return n
}

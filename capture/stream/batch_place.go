package stream

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// PlaceBatch is AppendBatch for frames that lie in the stream's pool. It takes all.
func (p *Producer) PlaceBatch(st *clock.Stamper, frames []ring.Frame, caplen int) {
	most := uint32(MaxFrame)
	if caplen > 0 {
		most = min(most, uint32(caplen))
	}
	for i := 0; i < len(frames); i++ {
		i += p.fastRunPlace(st, frames[i:], uint64(most))
		if i == len(frames) {
			break
		}
		f := frames[i : i+1]
		stamp, keep := [1]clock.Stamp{st.Stamp()}, [1]uint32{most}
		p.Place(stamp[:], keep[:], f)
		p.wireBytes += uint64(f[0].Len)
	}
}

// fastRunPlace places frames up to the first that needs the slow path, and returns how many.
func (p *Producer) fastRunPlace(st *clock.Stamper, frames []ring.Frame, most uint64) int {
	line, ok := st.Line()
	if !ok || p.finished {
		return 0
	}
	pool := p.stream.config.Pool
	at := window{
		pos: p.pos, seq: p.seq, endPos: p.segEnd - RecordHeader, endSeq: 1<<64 - 1, wrap: uint64(len(p.index) - 1), most: most,
		stride: uint64(pool.Stride), before: uint64(pool.Headroom - RecordHeader),
	}
	if p.padTo != 0 {
		return 0
	}
	n := fastPlace(p.data, p.index, frames, &at, &line)
	p.wireBytes += at.pos - p.pos - RecordHeader*uint64(n)
	p.pos, p.seq = at.pos, at.seq
	st.SetLast(line)
	return n
}

// fastPlaceGo is fastPlace in Go, for architectures without assembly and as the reference
// for its tests.
func fastPlaceGo(data []byte, index []Entry, frames []ring.Frame, at *window, line *clock.Line, tick func() uint64) int {
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
		place := uint64(f.Buffer)*at.stride + at.before
		rec := data[place : place+RecordHeader]
		binary.LittleEndian.PutUint64(rec, uint64(stamp))
		binary.LittleEndian.PutUint32(rec[8:], uint32(length|length<<16))

		e := &index[seq&at.wrap]
		e.Offset, e.Place = pos, uint32(place/placeUnit)
		e.Hash, e.VLAN, e.Info = f.Hash, f.VLAN, uint16(f.Info)
		e.Caplen, e.Len = uint16(length), uint16(length)
		pos += size
		seq++
		n++
	}
	at.pos, at.seq = pos, seq
	return n
}

package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// PlaceRun polls frames that lie in the stream's pool, stamps each, and adds it to the
// stream, up to the first descriptor that is not done or not of the fast path (ring.IsFast),
// or the first frame that needs another path of the producer. It returns how many.
//
// One loop polls, stamps and stores, because reading the counter takes longer than the rest,
// which the processor executes beside it. It touches no byte of the frames.
func (p *Producer) PlaceRun(st *clock.Stamper, run *ring.Run, caplen int) int {
	line := st.Line()
	if line == nil || p.finished || p.padTo != 0 || len(run.Descriptors) == 0 {
		return 0
	}
	at := &p.placing
	if end := uint64(run.Buffer) + uint64(len(run.Descriptors)); end > at.buffers {
		panic(fmt.Sprintf("stream: buffer %d of a pool of %d", end-1, at.buffers))
	}
	at.pos, at.seq, at.endPos = p.pos, p.seq, p.segEnd-RecordHeader
	at.first = at.before + uint64(run.Buffer)*at.stride
	at.limit, at.info, at.refill = run.Limit, uint32(run.Info), run.Next
	at.most = MaxFrame
	if caplen > 0 {
		at.most = min(at.most, uint32(caplen))
	}
	n := fastPlace(p.data, p.index, run.Descriptors, at, line)
	p.wireBytes += at.wire
	p.truncated += at.truncated
	p.pos, p.seq, at.wire, at.truncated = at.pos, at.seq, 0, 0
	return n
}

// PlaceBatch is AppendBatch for frames that lie in the stream's pool, any that PlaceRun does
// not take. It takes all.
func (p *Producer) PlaceBatch(st *clock.Stamper, frames []ring.Frame, caplen int) {
	most := uint32(MaxFrame)
	if caplen > 0 {
		most = min(most, uint32(caplen))
	}
	for i := range frames {
		stamp, keep := [1]clock.Stamp{st.Stamp()}, [1]uint32{most}
		p.Place(stamp[:], keep[:], frames[i:i+1])
		p.wireBytes += uint64(frames[i].Len)
	}
}

// placeAhead is the number of frames between the prefetch of a record's place and its use.
const placeAhead = 24

// placing is where the next frame of a pool lies and its entry goes, and how far.
type placing struct {
	pos, seq  uint64
	endPos    uint64
	wrap      uint64
	first     uint64 // where the first frame's record lies
	stride    uint64 // from one to the next
	ahead     uint64 // to the one that is prefetched
	wire      uint64 // bytes of all frames so far
	truncated uint64 // frames
	refill    uint64 // see ring.Run
	infos     *[1 << 13]ring.Info
	limit     uint32 // see ring.Run
	info      uint32 //
	most      uint32 // bytes kept of a frame
	before    uint64 // where the record in buffer 0 lies
	buffers   uint64 // of the pool
}

func newPlacing(pool *Pool, entries int) placing {
	stride := uint64(pool.Stride)
	return placing{
		wrap: uint64(entries - 1), stride: stride, ahead: placeAhead * stride, infos: ring.FastInfo(),
		before: uint64(pool.Headroom - RecordHeader), buffers: uint64(pool.Buffers),
	}
}

// fastPlaceGo is fastPlace in Go, for architectures without assembly and as the reference
// for its tests.
func fastPlaceGo(data []byte, index []Entry, descs []ring.RxDescriptor, at *placing, line *clock.Line, tick func() uint64) int {
	place := at.first
	for n := range descs {
		// Acquire of word 0 and the packet (A1 of package ring).
		s := descs[n].Status()
		t, length := descs[n].Type(), uint32(s.Length())
		keep := min(length, at.most)
		size := RecordHeader + uint64(keep)
		if !ring.IsFast(t, s) || length-1 >= at.limit || at.pos+size > at.endPos {
			return n
		}
		stamp, ok := line.Stamp(tick())
		if !ok {
			return n
		}
		rec := data[place : place+RecordHeader]
		binary.LittleEndian.PutUint64(rec, uint64(stamp))
		binary.LittleEndian.PutUint32(rec[8:], keep|length<<16)

		e := &index[at.seq&at.wrap]
		hash, info := ring.DescribeFast(t, s)
		e.Offset, e.Place = at.pos, uint32(place/placeUnit)
		e.Hash, e.VLAN, e.Info = hash, 0, uint16(info)|uint16(at.info)
		e.Caplen, e.Len = uint16(keep), uint16(length)
		if keep < length {
			e.Info |= uint16(Truncated)
			at.truncated++
		}
		at.wire += uint64(length)
		at.pos += size
		at.seq++
		place += at.stride
		if at.refill != 0 {
			descs[n].Refill(at.refill)
			at.refill += at.stride
		}
	}
	return len(descs)
}

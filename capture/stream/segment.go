package stream

import "encoding/binary"

// pad writes padding records from pos up to padTo as far as there is room and
// begins the next segment when it gets there. A record never leaves less than a
// header free before padTo, so the padding always comes out even.
func (p *Producer) pad() bool {
	for p.pos < p.padTo {
		size := padding(p.padTo - p.pos)
		if !p.extend(size, 0) {
			p.endPos = 0 // no record may come between
			return false
		}
		at := p.pos & p.mask
		rec := p.data[at : at+size]
		n := uint32(size - RecordHeader)
		clear(rec) // stamp 0; and nothing of an earlier lap gets into a file
		binary.LittleEndian.PutUint32(rec[8:], n|n<<16)
		p.pos += size
		p.padding += size
	}
	p.segPos, p.segEnd, p.padTo = p.pos, p.pos+p.segment, 0
	p.endPos = p.pos // look around before the next record
	n := p.cur.Segments.Load()
	st := &p.starts[n&uint64(len(p.starts)-1)]
	st.Offset.Store(p.pos)
	st.Seq.Store(p.seq)
	// Release: a reader that acquires Segments sees the start it counts.
	p.cur.Segments.Store(n + 1)
	return true
}

// padding is the size of the next padding record when rest bytes are to be
// filled, rest being at least a header: as long as its u16 length allows, but
// leaving either nothing or room for one more header.
func padding(rest uint64) uint64 {
	size := min(rest, MaxRecord)
	if left := rest - size; left != 0 && left < RecordHeader {
		size -= RecordHeader
	}
	return size
}

// Rotate has the producer close the current segment at its next Publish, with
// padding up to the next multiple of 1 MiB, so that storers begin a new file. A
// segment without a frame goes on: it is the new one. It may be called from any
// goroutine, and returns at once.
func (s *Stream) Rotate() { s.align.Add(1) }

// closeEarly ends the current segment at the next block boundary, unless it has
// not even begun, for listeners that asked for an aligned start and for Rotate.
func (p *Producer) closeEarly(asked uint64) {
	if p.finished {
		return
	}
	if p.padTo == 0 {
		if p.pos == p.segPos {
			p.aligned = asked // where the producer stands is a start
			return
		}
		// Strictly ahead, even from a block boundary: readers may have gone past
		// it already without having seen a segment end there.
		to := (p.pos + Block) &^ (Block - 1)
		if to-p.pos < RecordHeader {
			to += Block
		}
		p.padTo = to
	}
	done := p.pad()
	p.publish()
	if done {
		p.aligned = asked
	}
}

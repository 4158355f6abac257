package stream

import "encoding/binary"

// pad writes padding records from pos up to padTo as far as there is room, and
// begins the next segment at padTo. It returns false if a lossless listener is in
// the way. No record leaves less than a header free before padTo, so the padding
// always fits.
func (p *Producer) pad() bool {
	for p.pos < p.padTo {
		size := padding(p.padTo - p.pos)
		if !p.extendLimit(size, 0) {
			p.endPos = 0 // no record may be written before the rest of the padding
			return false
		}
		if p.stream.config.Pool == nil {
			p.writePadding(size)
		}
		p.pos += size
		p.padding += size
	}
	p.segPos, p.segEnd, p.padTo = p.pos, p.pos+p.segment, 0
	p.aligned = max(p.aligned, p.closing)
	p.endPos = p.pos // the next record takes the slow path
	n := p.cur.Segments.Load()
	st := &p.starts[n&uint64(len(p.starts)-1)]
	st.Offset.Store(p.pos)
	st.Seq.Store(p.seq)
	// R3: the start is stored before the count that includes it. Pairs with A3 in
	// segmentEnd, SegmentStart and firstStart.
	p.cur.Segments.Store(n + 1)
	return true
}

// writePadding writes a padding record of size bytes at pos.
func (p *Producer) writePadding(size uint64) {
	at := p.pos & p.mask
	rec := p.data[at : at+size]
	n := uint32(size - RecordHeader)
	clear(rec) // stamp 0; and no bytes of an earlier lap in a file
	binary.LittleEndian.PutUint32(rec[8:], n|n<<16)
}

// padding returns the size of the next padding record when rest bytes are to be
// filled; rest is at least a header. The record is as long as its u16 length
// allows and leaves either no byte or room for one more header.
func padding(rest uint64) uint64 {
	size := min(rest, MaxRecord)
	if left := rest - size; left != 0 && left < RecordHeader {
		size -= RecordHeader
	}
	return size
}

// Rotate requests that the producer close the current segment at its next
// Publish, with padding up to the next multiple of 1 MiB, so that storers begin a
// new file. A segment without a frame is not closed. Rotate may be called from any
// goroutine and returns at once.
func (s *Stream) Rotate() {
	s.align.Add(1)
	s.notifier.wakeProducer()
}

// closeEarly ends the current segment at the next block boundary, unless it is
// empty, for aligned starts and for Rotate. requests is the value of Stream.align
// that it serves.
func (p *Producer) closeEarly(requests uint64) {
	if p.finished {
		return
	}
	if p.padTo == 0 {
		if p.pos == p.segPos {
			p.aligned = requests // the producer stands at a start
			return
		}
		// Strictly ahead, even from a block boundary: readers may have passed it
		// already without a segment end there.
		to := (p.pos + Block) &^ (Block - 1)
		if to-p.pos < RecordHeader {
			to += Block
		}
		p.padTo = to
	}
	p.closing = requests // also if append completes it
	p.pad()
	p.publish()
}

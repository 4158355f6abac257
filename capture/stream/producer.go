package stream

import (
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/ring"
)

// causes of refusal
const (
	tooLong = iota
	broken
	late
	refusals
)

// Producer writes a stream. All of its methods belong to one goroutine.
type Producer struct {
	// What Append touches, together.
	data  []byte  // twice mapped
	index []Entry //
	mask  uint64  // len(data)/2 - 1
	pos   uint64  // where the next record goes
	seq   uint64  // which index entry it gets
	// endPos and endSeq: Append may write below them without looking around.
	endPos uint64
	endSeq uint64

	published    uint64 // pos at the last publish
	publishedSeq uint64
	finished     bool
	truncated    uint64
	padding      uint64
	wireBytes    uint64

	reserve  uint64 // announced, see cursors
	reserveI uint64
	step     uint64 // announced at once, in bytes
	stepI    uint64 // and in entries
	slowest  uint64 // nothing at or beyond may be written for the sake of lossless listeners
	slowestI uint64

	segment uint64 // length of a segment
	segEnd  uint64 // where the current one ends at the latest
	segPos  uint64 // where it began
	padTo   uint64 // padding is being written up to here; 0: none
	aligned uint64 // of those asked for (Stream.align), how many were served

	stream *Stream
	cur    *cursors
	starts []start
}

func (p *Producer) init(s *Stream) {
	size := uint64(s.config.Size)
	*p = Producer{
		data: s.bytes, mask: size - 1, index: s.view.index,
		step:    min(size/8, 256<<10),
		stepI:   min(uint64(len(s.view.index))/8, 4096),
		segment: uint64(s.config.Segment), segEnd: uint64(s.config.Segment),
		stream: s, cur: s.view.cursors, starts: s.view.starts,
	}
	p.cur.Segments.Store(1)
}

// Append stores one frame: at most caplen bytes of it, all of them when caplen
// is 0, under the stamp (seconds and nanoseconds since 1970). The frame's memory
// is no longer needed when it returns.
//
// False means that a lossless listener holds the producer back and nothing was
// stored: what was appended before is published then; try again later. A frame
// that can never be stored is counted by cause (Stats) and passed over as if it
// had been.
func (p *Producer) Append(sec, nsec uint32, f *ring.Frame, caplen int) bool {
	keep := uint64(f.Len)
	if caplen > 0 {
		keep = min(keep, uint64(caplen))
	}
	return p.append(sec, nsec, f, keep)
}

// append is Append of keep bytes of a frame, at most its length.
func (p *Producer) append(sec, nsec uint32, f *ring.Frame, keep uint64) bool {
	if f.Len > MaxFrame || uint64(len(f.Data)) < keep {
		return p.appendParts(sec, nsec, f, keep)
	}
	size := RecordHeader + keep
	if p.pos+size > p.endPos || p.seq >= p.endSeq {
		if !p.makeRoom(size) {
			return p.finished
		}
	}
	copy(p.record(sec, nsec, f, keep), f.Data)
	return true
}

// record writes the next record's header and index entry, moves on, and returns
// where its keep bytes belong. There is room for it.
func (p *Producer) record(sec, nsec uint32, f *ring.Frame, keep uint64) []byte {
	stamp := uint64(sec) | uint64(nsec)<<32
	if stamp == 0 {
		stamp = 1 << 32 // a record stamped 0 would be padding
	}
	lengths := uint32(keep) | f.Len<<16
	at := p.pos & p.mask
	rec := p.data[at : at+RecordHeader+keep]
	binary.LittleEndian.PutUint64(rec, stamp)
	binary.LittleEndian.PutUint32(rec[8:], lengths)

	e := &p.index[p.seq&uint64(len(p.index)-1)]
	e.Offset = p.pos
	e.Hash, e.VLAN, e.Info = f.Hash, f.VLAN, uint16(f.Info)
	e.Caplen, e.Len = uint16(keep), uint16(f.Len)
	if keep < uint64(f.Len) {
		e.Info |= uint16(Truncated)
		p.truncated++
	}
	p.pos += RecordHeader + keep
	p.seq++
	return rec[RecordHeader:]
}

// appendParts stores a frame that lies in several buffers, and refuses the odd ones.
func (p *Producer) appendParts(sec, nsec uint32, f *ring.Frame, keep uint64) bool {
	if f.Len > MaxFrame {
		p.refuse(tooLong)
		return true
	}
	total := len(f.Data)
	for _, part := range f.Rest {
		total += len(part)
	}
	if total != int(f.Len) {
		p.refuse(broken)
		return true
	}
	if !p.makeRoom(RecordHeader + keep) {
		return p.finished
	}
	to := p.record(sec, nsec, f, keep)
	to = to[copy(to, f.Data):]
	for _, part := range f.Rest {
		to = to[copy(to, part):]
	}
	return true
}

func (p *Producer) refuse(cause int) { p.stream.refused[cause].Add(1) }

// makeRoom makes sure that a record of so many bytes fits at pos: it closes the
// segment when the record would not leave room for another header in it, asks
// the listeners how far they are, and announces what will be written. False:
// held back, or finished.
func (p *Producer) makeRoom(size uint64) bool {
	if p.finished {
		p.refuse(late)
		return false
	}
	for {
		if p.padTo == 0 && p.pos+size+RecordHeader > p.segEnd {
			p.padTo = p.segEnd
		}
		if p.padTo != 0 && !p.pad() {
			break
		}
		if p.padTo == 0 && p.pos+size+RecordHeader <= p.segEnd {
			if p.extend(size, 1) {
				return true
			}
			break
		}
	}
	// An aligned listener may be waiting, even if it is the one that holds us.
	p.Publish()
	return false
}

// extend announces and looks around until size more bytes and frames more
// entries may be written; false when a lossless listener is in the way.
func (p *Producer) extend(size, frames uint64) bool {
	if p.pos+size > min(p.reserve, p.slowest) || p.seq+frames > min(p.reserveI, p.slowestI) {
		// Never let what is published fall far behind what is announced, however
		// seldom Publish is called: a listener that begins with the last
		// published frame must not find it on the point of being overwritten.
		if p.pos != p.published {
			p.publish()
		}
		p.announce(p.pos+max(p.step, size), p.seq+max(p.stepI, frames))
		p.scan()
		if p.slowest < p.reserve || p.slowestI < p.reserveI {
			// Held, so it will not come to that. Say so: a lossless listener that
			// is made lossy must not think that it has been overtaken. What has
			// been written stays announced.
			p.announce(max(p.pos, min(p.reserve, p.slowest)), max(p.seq, min(p.reserveI, p.slowestI)))
		}
	}
	limit := min(p.reserve, p.slowest)
	p.endPos = min(limit, p.segEnd-RecordHeader)
	p.endSeq = min(p.reserveI, p.slowestI)
	return p.pos+size <= limit && p.seq+frames <= p.endSeq
}

// announce tells up to where everything may be overwritten from now on. Before
// any byte of what is announced is written, every lossy reader that could be
// harmed can see it: pairs with the loads in view.overtaken. It also comes before
// the loads of scan: see Stream.admit and SetPolicy.
func (p *Producer) announce(offset, seq uint64) {
	p.reserve, p.reserveI = offset, seq
	p.cur.ReserveSeq.Store(seq)
	p.cur.ReserveOffset.Store(offset)
	fence()
}

// scan finds the slowest lossless listener, and detaches any listener whose
// cursor is impossible: one that went back, or beyond what was published.
func (p *Producer) scan() {
	s := p.stream
	s.scans.Add(1)
	pos, seq := p.pos, p.seq
	for set := s.active.Load(); set != 0; set &= set - 1 {
		i := bits.TrailingZeros64(set)
		sl := s.slots[i].Load()
		if sl == nil {
			continue
		}
		// Acquire: pairs with the listener's release after its last look at
		// the bytes that it gives back.
		o, q := sl.cursor.Offset.Load(), sl.cursor.Seq.Load()
		if o < sl.offset || o > p.published || q < sl.seq || q > p.publishedSeq {
			s.evict(i, sl)
			continue
		}
		sl.offset, sl.seq = o, q
		if sl.respect.Load() != 0 {
			pos, seq = min(pos, o), min(seq, q)
		}
	}
	s.scans.Add(1)
	p.slowest, p.slowestI = pos+p.mask+1, seq+uint64(len(p.index))
}

// Publish shows readers what was appended since the last time. The poller calls
// it once a batch, and now and then while nothing arrives, for the sake of
// listeners that wait for an aligned start.
func (p *Producer) Publish() {
	if p.pos != p.published {
		p.publish()
	}
	if n := p.stream.align.Load(); n != p.aligned {
		p.closeEarly(n)
	}
}

func (p *Producer) publish() {
	// Releases: all records and entries before them are visible to whoever
	// acquires them (Listener.available, Listener.ReadBlock). Entries first, so that
	// a reader that sees the head sees the entries of all frames before it.
	p.publishedSeq, p.published = p.seq, p.pos
	s := p.stream
	rare := s.truncated.Load() != p.truncated || s.padding.Load() != p.padding
	if rare {
		s.publishing.Add(1)
		s.truncated.Store(p.truncated)
		s.padding.Store(p.padding)
	}
	releaseStore(&p.cur.IndexHead, p.seq)
	releaseStore(&p.cur.Head, p.pos)
	if rare {
		s.publishing.Add(1)
	}
}

// Finish publishes what was appended and ends the stream: listeners read what
// is left and then get io.EOF. Append stores nothing any more.
func (p *Producer) Finish() {
	p.publish()
	p.finished = true
	p.endPos = 0
	// Release: pairs with the loads of Finished before Head in the readers.
	p.cur.Finished.Store(1)
}

package stream

import (
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/capture/fanout"
	"github.com/ixcap/ixcap/ring"
)

// The causes of refusal.
const (
	tooLong = iota
	inconsistent
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
	// The fast path may write below endPos and endSeq.
	endPos uint64
	endSeq uint64

	published    uint64 // pos at the last publish
	publishedSeq uint64
	generation   uint64 // of the fan-out groups at the last publish
	assigned     fanout.Frames
	assignedSeq  uint64 // of the frames before it assigned are published
	assignedStep uint64 // frames until they are again
	finished     bool
	truncated    uint64
	padding      uint64
	wireBytes    uint64

	reserve    uint64 // announced, see cursors
	reserveSeq uint64
	step       uint64 // announced at once, in bytes
	stepSeq    uint64 // and in entries
	slowest    uint64 // a write at or beyond it would overwrite what a lossless listener has not released
	slowestSeq uint64
	blocker    *attachment // the lossless listener in the way of the last frame that was not accepted

	segment uint64 // length of a segment
	segEnd  uint64 // where the current one ends at the latest
	segPos  uint64 // where it began
	padTo   uint64 // padding is being written up to here; 0: none
	aligned uint64 // the value of Stream.align that was served
	closing uint64 // and that is when the padding is complete

	placing placing // of frames in a pool

	stream *Stream
	cur    *cursors
	starts []start
	rest   [][]byte // of the last Stored, of a frame in several buffers
}

func (p *Producer) init(s *Stream) {
	size := uint64(s.config.Size)
	*p = Producer{
		data: s.bytes, mask: size - 1, index: s.view.index,
		step:    min(size/8, 256<<10),
		stepSeq: min(uint64(len(s.view.index))/8, 4096),
		segment: uint64(s.config.Segment), segEnd: uint64(s.config.Segment),
		stream: s, cur: s.view.cursors, starts: s.view.starts,
	}
	if s.config.Pool != nil {
		p.placing = newPlacing(s.config.Pool, len(p.index))
	}
	p.cur.Segments.Store(1)
}

// Append stores one frame: at most caplen bytes of it, all of them when caplen
// is 0, under the stamp (seconds and nanoseconds since 1970). The frame's memory
// is no longer needed when it returns.
//
// Append returns false if a lossless listener holds the producer back. Nothing was
// stored then, and what was appended before is published; the caller tries again
// later. A frame that can never be stored is refused: Append counts it by cause
// (Stats) and returns true.
func (p *Producer) Append(sec, nsec uint32, f *ring.Frame, caplen int) bool {
	keep := uint64(f.Len)
	if caplen > 0 {
		keep = min(keep, uint64(caplen))
	}
	return p.append(sec, nsec, f, keep)
}

// append is Append of keep bytes of a frame; keep is at most its length.
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

// recordStamp returns the stamp of a frame's record, which is not 0: that would be padding.
func recordStamp(stamp uint64) uint64 {
	if stamp == 0 {
		return 1 << 32
	}
	return stamp
}

// record writes the next record's header and its index entry, advances pos and seq,
// and returns the place of its keep bytes. There is room for it.
func (p *Producer) record(sec, nsec uint32, f *ring.Frame, keep uint64) []byte {
	stamp := recordStamp(uint64(sec) | uint64(nsec)<<32)
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

// appendParts stores a frame in several buffers, or refuses it.
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
		p.refuse(inconsistent)
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

// makeRoom makes room for a record of size bytes at pos. It closes the segment if
// the record would leave no room for another header, loads the listeners' cursors,
// and announces what will be written. It returns false if a lossless listener is in
// the way or the stream is finished.
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
			if p.extendLimit(size, 1) {
				return true
			}
			break
		}
	}
	// A listener may be waiting for an aligned start, even the one in the way.
	p.Publish()
	return false
}

// extendLimit announces size more bytes and frames more entries and loads the
// listeners' cursors, if needed. It returns false if a lossless listener is in the
// way.
func (p *Producer) extendLimit(size, frames uint64) bool {
	if p.stream.config.Pool != nil {
		return true // frames are where they are; see Reuse
	}
	var last *attachment
	if p.pos+size > min(p.reserve, p.slowest) || p.seq+frames > min(p.reserveSeq, p.slowestSeq) {
		// What is published must not fall far behind what is announced, however
		// rarely Publish is called: a listener begins with the last published
		// frame, which must not be about to be overwritten.
		if p.pos != p.published {
			p.publish()
		}
		p.publishAssigned(false)
		p.announce(p.pos+max(p.step, size), p.seq+max(p.stepSeq, frames))
		last = p.scanListeners()
		if p.slowest < p.reserve || p.slowestSeq < p.reserveSeq {
			// Held back: announce only what can be written, so that a lossless
			// listener that is made lossy does not count it as overrun. What has
			// been written stays announced.
			p.announce(max(p.pos, min(p.reserve, p.slowest)), max(p.seq, min(p.reserveSeq, p.slowestSeq)))
		}
	}
	limit := min(p.reserve, p.slowest)
	p.endPos = min(limit, p.segEnd-RecordHeader)
	p.endSeq = min(p.reserveSeq, p.slowestSeq)
	if p.pos+size <= limit && p.seq+frames <= p.endSeq {
		return true
	}
	p.blocker = last
	return false
}

// HeldBack attributes ns, in which the stream accepted no frame, to the lossless listener
// that was in the way: ListenerStats.Held.
func (p *Producer) HeldBack(ns uint64) {
	if p.blocker != nil {
		p.blocker.held.Add(ns)
	}
}

// announce stores up to where the producer may write from now on.
//
// R1: the announcement is visible before any byte that it covers is written. Pairs
// with A1 in overwritten. SC1, SC3: it is stored before scanListeners loads slots
// and policies; see claimSlot and SetPolicy.
func (p *Producer) announce(offset, seq uint64) {
	p.reserve, p.reserveSeq = offset, seq
	p.cur.ReserveSeq.Store(seq)
	p.cur.ReserveOffset.Store(offset)
	fence()
}

// scanListeners finds the slowest lossless listener, nil if none is behind, and detaches
// any listener with a corrupt cursor: one that went back, or beyond what was published.
//
// SC1, SC3: slots and policies are loaded after announce has stored the announcement;
// see claimSlot and SetPolicy. SC2: scans is odd while slots are in use; see clearSlot.
func (p *Producer) scanListeners() (last *attachment) {
	s := p.stream
	s.scans.Add(1)
	pos, seq := p.pos, p.seq
	for set := s.active.Load(); set != 0; set &= set - 1 { // SC1
		i := bits.TrailingZeros64(set)
		att := s.slots[i].Load()
		if att == nil {
			continue
		}
		// A5, pairs with R5 in release: the listener no longer reads the bytes
		// before.
		o, q := att.cursor.Offset.Load(), att.cursor.Seq.Load()
		if o < att.offset || o > p.published || q < att.seq || q > p.publishedSeq {
			s.detachCorrupt(i, att)
			continue
		}
		att.offset, att.seq = o, q
		if att.lossless.Load() != 0 { // SC3
			if o < pos {
				last = att
			}
			pos, seq = min(pos, o), min(seq, q)
		}
	}
	s.scans.Add(1)
	p.slowest, p.slowestSeq = pos+p.mask+1, seq+uint64(len(p.index))
	return last
}

// Publish makes what was appended visible to readers. The poller calls it once a
// batch, and from time to time while no frame arrives, for listeners that wait for an
// aligned start and for fan-out groups that change.
func (p *Producer) Publish() {
	if p.pos != p.published || p.stream.groups.generation.Load() != p.generation {
		p.publish()
	}
	if n := p.stream.align.Load(); n != p.aligned {
		p.closeEarly(n)
	}
}

func (p *Producer) publish() {
	if a := p.stream.groups.assigner.Load(); a != nil {
		p.assign(a)
	}
	p.publishedSeq, p.published = p.seq, p.pos
	s := p.stream
	rare := s.truncated.Load() != p.truncated || s.padding.Load() != p.padding
	if rare {
		// R8: publishing is odd while these and the heads change. Pairs with A8 in stats.
		s.publishing.Add(1)
		s.truncated.Store(p.truncated)
		s.padding.Store(p.padding)
	}
	// R2: all records and entries before them are visible first. IndexHead comes
	// first, so that a reader that sees Head sees the entries of all frames before
	// it. Pairs with A2 in available, ReadBlock, newest and published.
	releaseStore(&p.cur.IndexHead, p.seq)
	releaseStore(&p.cur.Head, p.pos)
	if rare {
		s.publishing.Add(1)
	}
}

// SetMissed publishes how many frames the port has missed, all its queues together, for
// listeners of other processes. It may be called from any goroutine.
func (s *Stream) SetMissed(frames uint64) { s.view.cursors.Missed.Store(frames) }

// SetUncertainty publishes that a stamp may lie up to ns nanoseconds from the arrival
// of its frame in host memory, for all frames so far.
func (p *Producer) SetUncertainty(ns uint64) { p.cur.Uncertainty.Store(ns) }

// Finish publishes what was appended and ends the stream: listeners read what is
// left and then get io.EOF. Append refuses all further frames.
func (p *Producer) Finish() {
	p.publish()
	p.publishAssigned(true)
	p.finished = true
	p.endPos = 0
	// R4: Head is final before Finished is set. Pairs with A4 in endOfStream.
	p.cur.Finished.Store(1)
	p.stream.notifier.endNotices()
}

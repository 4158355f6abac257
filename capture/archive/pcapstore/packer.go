package pcapstore

import (
	"math"
	"time"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/stream"
)

// never is a stamp after all others.
const never = math.MaxInt64

// packer filters packets, cuts them and encodes them into chunks. One goroutine
// uses it.
//
// A batch of packets is valid only if the next read of the stream says so: a
// lossy listener may have been overrun while the batch was encoded. So add leaves
// the batch unconfirmed; confirm counts it and submits full chunks, revert
// restores the state before it.
type packer struct {
	cfg  *Config
	enc  *pcapfile.Encoder
	pipe *pipeline
	stat *counters

	now    state
	before state    // the batch; before.chunk is nil if all batches are confirmed
	full   []*chunk // filled since then
}

// state is what a batch changes. It is copied, so that a batch can be reverted.
type state struct {
	chunk   *chunk
	size    int           // of chunk.raw; set in packer.before only
	content content       // of chunk; set in packer.before only
	since   time.Time     // when the chunk got its first packet
	inFile  bool          // the next packet belongs to a file that has packets
	every   time.Duration // period of files
	fileEnd int64         // stamp at which the file's period ends, ns
	counts  counts        // of unconfirmed packets
	lost    loss          // to be noted in the file with the next packet
}

// counts is what became of packets read.
type counts struct {
	read, filtered store.Amount
	cut, overrun   uint64
}

func newPacker(s *Storer) *packer {
	return &packer{
		cfg: &s.cfg, enc: &s.enc, pipe: s.pipe, stat: &s.stat,
		now: state{chunk: s.pipe.get(), fileEnd: never},
	}
}

// add encodes a batch, which came after a loss. Files end with periods of every.
func (p *packer) add(batch []stream.Packet, now time.Time, lost loss, every time.Duration) {
	s := &p.now
	s.counts.overrun += lost.overrun
	s.lost.add(lost)
	p.before = *s
	p.before.size, p.before.content = len(s.chunk.raw), s.chunk.content
	if s.every != every {
		if s.every = every; s.inFile {
			s.fileEnd = p.periodEnd(batch[0].UnixNano())
		}
	}
	bytes := 0
	for i := range batch {
		in := &batch[i]
		bytes += len(in.Data)
		if p.cfg.Filter != nil && !p.cfg.Filter.Match(in.Data, int(in.Len)) {
			s.counts.filtered.Packets++
			s.counts.filtered.Bytes += uint64(len(in.Data))
			continue
		}
		out := pcapfile.Packet{Nano: in.UnixNano(), Len: uint32(in.Len), Data: in.Data, Errors: pcapfile.ErrorsOf(in.Info, uint32(in.Len))}
		if p.cfg.SnapLen != 0 && len(in.Data) > p.cfg.SnapLen {
			out.Data = in.Data[:p.cfg.SnapLen]
			s.counts.cut += uint64(len(in.Data) - p.cfg.SnapLen)
		}
		if out.Nano >= s.fileEnd {
			p.endFile()
		}
		if !s.inFile {
			s.inFile, s.fileEnd = true, p.periodEnd(out.Nano)
		}
		c := s.chunk
		if c.Packets == 0 {
			s.since = now
		}
		if s.lost != (loss{}) {
			out.Dropped, out.Comment = s.lost.total(), s.lost.String()
			c.overrun += s.lost.overrun
			s.lost = loss{}
		}
		c.raw = p.enc.Packet(c.raw, &out)
		c.addPacket(out.Nano, len(out.Data))
		if len(c.raw) >= p.pipe.size {
			p.nextChunk()
		}
	}
	s.counts.read.Add(store.Amount{Packets: uint64(len(batch)), Bytes: uint64(bytes)})
}

// periodEnd returns the stamp at which the period ends that nano lies in.
func (p *packer) periodEnd(nano int64) int64 {
	if p.now.every == 0 {
		return never
	}
	return store.PeriodEnd(time.Unix(0, nano), p.now.every).UnixNano()
}

// nextChunk ends the current chunk, which confirm submits.
func (p *packer) nextChunk() {
	p.full = append(p.full, p.now.chunk)
	p.now.chunk = p.pipe.get()
}

// endFile ends the current file, if it has any packets.
func (p *packer) endFile() {
	if !p.now.inFile {
		return
	}
	p.now.inFile, p.now.fileEnd = false, never
	p.now.chunk.endsFile = true
	p.nextChunk()
}

// confirm counts the last batch and submits the full chunks.
func (p *packer) confirm() {
	if p.now.counts != (counts{}) {
		p.stat.addRead(p.now.counts)
		p.now.counts = counts{}
	}
	for i, c := range p.full {
		p.pipe.submit(c)
		p.full[i] = nil
	}
	p.full = p.full[:0]
	p.before = state{}
}

// flush is confirm of all packets, also those of a chunk that is not full.
func (p *packer) flush() {
	if p.now.chunk.Packets != 0 {
		p.nextChunk()
	}
	p.confirm()
}

// revert drops the last batch. Its listener counts it as an overrun.
func (p *packer) revert() {
	if p.before.chunk == nil {
		return
	}
	for _, c := range append(p.full, p.now.chunk) {
		if c != p.before.chunk {
			p.pipe.put(c)
		}
	}
	clear(p.full)
	p.full = p.full[:0]
	p.now, p.before = p.before, state{}
	c := p.now.chunk
	c.raw, c.content, c.endsFile = c.raw[:p.now.size], p.now.content, false
}

// age returns how long the oldest packet of the chunk has been waiting; ok is false
// if there is none.
func (p *packer) age(now time.Time) (age time.Duration, ok bool) {
	return now.Sub(p.now.since), p.now.chunk.Packets != 0
}

package stream

import (
	"encoding/binary"
	"fmt"

	"github.com/ixcap/ixcap/hugepage"
)

// gathered are the bytes of a stream with a pool for a reader of bytes: the records of the
// frames, copied one behind the other, and padding, as a copying stream has them. The frames
// are released as soon as they are copied.
type gathered struct {
	mem   *hugepage.Memory
	bytes []byte // twice mapped
	mask  uint64
	end   position // what is before it was copied
}

// gatheredBytes returns the size of that memory for a pool of so many bytes, a power of two: a
// quarter of a large pool. Short frames that wait for a slow disk have more room there than in the
// pool.
func gatheredBytes(pool int) int {
	const least, most = 16 * Block, 64 * Block
	return min(max(int(ceilPow2(uint64(pool)))/4, least), most)
}

// prepareGather allocates the memory at the first call, in a stream with a pool.
func (l *Listener) prepareGather() error {
	if l.pool.stride == 0 {
		return nil
	}
	if l.gathered == nil {
		size := gatheredBytes(len(l.data))
		mem, err := hugepage.Alloc(size, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "ixcap-blocks"})
		if err != nil {
			return fmt.Errorf("read block: %w", err)
		}
		b, err := mem.MapTwice()
		if err != nil {
			_ = mem.Close() // the error above is the cause
			return fmt.Errorf("read block: %w", err)
		}
		l.gathered = &gathered{mem: mem, bytes: b, mask: uint64(size) - 1}
	}
	if g := l.gathered; g.end.offset < l.next.offset {
		g.end = l.next
	}
	return nil
}

// blockBytes returns how many bytes the blocks in flight can have together.
func (l *Listener) blockBytes() uint64 {
	if g := l.gathered; g != nil {
		return g.mask + 1
	}
	return l.mask + 1
}

// kept returns the position from which on the listener needs the stream's memory.
func (l *Listener) kept() position {
	if g := l.gathered; g != nil && g.end.offset > l.released.offset {
		return g.end
	}
	return l.released
}

// gatherBytes copies what is published before a stream offset, and the rest of the record
// that it cuts, and releases the frames. There is room. Head was loaded before. A lossy
// reader's frames may have been overwritten, from kept on then.
func (l *Listener) gatherBytes(before, head uint64) {
	g := l.gathered
	visible := l.cur.IndexHead.Load() // A2: after Head
	from := g.end
	for g.end.offset < before {
		to := head // if no frame is left, there is only padding
		if g.end.seq < visible {
			e := *l.entry(g.end.seq) // of a lossy reader it may be torn
			if to = e.Offset; to <= g.end.offset {
				if l.lossy && l.overwritten(g.end) {
					break
				}
				g.record(l, &e)
				continue
			}
		}
		if l.lossy && l.overwritten(g.end) {
			break
		}
		g.padding(to)
	}
	if l.blocks.seq = max(l.blocks.seq, g.end.seq); g.end != from {
		l.account.release(l.released.offset, l.blocks.seq)
	}
}

// record copies a frame's record.
func (g *gathered) record(l *Listener, e *Entry) {
	caplen := uint64(e.Caplen)
	at := g.end.offset & g.mask
	to := g.bytes[at : at+RecordHeader+caplen]
	place := l.at(e)
	copy(to[:RecordHeader], l.data[place:])
	l.gather(to[RecordHeader:], e, caplen)
	if l.lossy && l.overwritten(g.end) {
		return // copied in vain
	}
	g.end = position{g.end.offset + RecordHeader + caplen, g.end.seq + 1}
}

// padding writes the first padding record of those that end at an offset. Only a corrupt
// index has less than a header's room there.
func (g *gathered) padding(to uint64) {
	size := max(padding(to-g.end.offset), RecordHeader)
	at := g.end.offset & g.mask
	rec := g.bytes[at : at+size]
	n := uint32(size - RecordHeader)
	clear(rec)
	binary.LittleEndian.PutUint32(rec[8:], n|n<<16)
	g.end.offset += size
}

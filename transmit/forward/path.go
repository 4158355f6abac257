package forward

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
)

// batch is the largest number of frames that are captured at once.
const batch = 64

// macLen is the length of an Ethernet header.
const macLen = 14

// Edit is what is done to the frames of one direction.
type Edit struct {
	// Filter, if not nil, matches the frames that are forwarded. Others are dropped.
	Filter *pcapfilter.Filter

	// Src and Dst, if not nil, are the MAC addresses to set.
	Src, Dst *[6]byte

	// PopVLAN removes the outer 802.1Q tag: the receiving device strips it.
	PopVLAN bool

	// PushVLAN is the tag to insert behind the addresses, after PopVLAN: the two bytes
	// behind its EtherType, of which the lower 12 bits are the ID. The sending device does
	// it. 0: none.
	PushVLAN uint16
}

// path is one direction of one queue. It is used by one goroutine at a time.
type path struct {
	pool *driver.RxPool
	tx   *driver.TxQueue
	down *atomic.Bool // the sending port has no link

	base   dma.IOVA // of buffer 0's first byte of a frame, for the sending device
	stride dma.IOVA
	chunk  uint32 // buffers of a chunk

	filter   *pcapfilter.Filter
	src, dst *[6]byte
	offload  *driver.TxOffload

	// frames are captured and not forwarded yet, those of part.
	frames   [batch]ring.Frame
	captured int
	part     driver.Chunk

	// held are parts of chunks that the sending device may still read: a ring, of which
	// the indices only grow.
	held       []heldPart
	head, tail uint64
	posted     uint64 // buffers so far
	chunks     int    // distinct ones among held, as long as they follow each other
	maxChunks  int

	counts Counts
	shared struct{ frames, bytes, forwarded, forwardedBytes, filtered, full, down atomic.Uint64 }
}

type heldPart struct {
	part  driver.Chunk
	until uint64 // posted, when its last buffer was
}

// Counts are the frames of a direction. They only grow.
//
//	Frames = Forwarded + Filtered + Full + Down
type Counts struct {
	Frames         uint64 `json:"frames"` // received
	Bytes          uint64 `json:"bytes"`  // without CRC
	Forwarded      uint64 `json:"forwarded"`
	ForwardedBytes uint64 `json:"forwarded_bytes"` // as they were received
	Filtered       uint64 `json:"filtered"`        // the filter did not match
	Full           uint64 `json:"full"`            // the transmit ring had no room: the other line is slower
	Down           uint64 `json:"down"`            // the other port had no link
}

func (c *Counts) add(d *Counts) {
	c.Frames += d.Frames
	c.Bytes += d.Bytes
	c.Forwarded += d.Forwarded
	c.ForwardedBytes += d.ForwardedBytes
	c.Filtered += d.Filtered
	c.Full += d.Full
	c.Down += d.Down
}

var _ capture.Ring = (*path)(nil)

// newPath returns the path from a pool to a queue of a device that has the pool's memory at
// base.
func newPath(pool *driver.RxPool, tx *driver.TxQueue, base dma.IOVA, e Edit, down *atomic.Bool) *path {
	p := &path{
		pool: pool, tx: tx, down: down,
		base: base + driver.Headroom, stride: dma.IOVA(pool.Stride()), chunk: uint32(pool.ChunkSize()),
		filter: e.Filter, src: e.Src, dst: e.Dst,
		held: make([]heldPart, tx.Buffers()+1),
		// The others are for the ring and for what is being captured.
		maxChunks: pool.Chunks() / 2,
	}
	if e.PushVLAN != 0 {
		p.offload = &driver.TxOffload{MACLen: macLen, InsertVLAN: true, VLAN: e.PushVLAN}
	}
	return p
}

// Size implements capture.Ring.
func (p *path) Size() int { return p.pool.Chunks() * p.pool.ChunkSize() }

// Poll implements capture.Source. It returns nothing until the frames of the Poll before have
// been released.
func (p *path) Poll(frames []ring.Frame) int {
	if p.captured > 0 {
		return 0
	}
	n := p.capture(min(len(frames), batch))
	copy(frames, p.frames[:n])
	return n
}

// Release implements capture.Source: it forwards the frames.
func (p *path) Release() {
	if p.captured > 0 {
		p.forward()
	}
}

// capture recycles what was sent and captures at most n frames.
func (p *path) capture(n int) int {
	p.recycle()
	p.part, p.captured = p.pool.Capture(p.frames[:n], true)
	return p.captured
}

// recycle recycles the chunks that the sending device has read.
func (p *path) recycle() {
	if p.head == p.tail {
		return
	}
	read := p.posted - uint64(p.tx.Buffers()-p.tx.Free())
	for p.head != p.tail {
		h := &p.held[p.head%uint64(len(p.held))]
		if h.until > read {
			return
		}
		p.head++
		if p.head == p.tail || p.held[p.head%uint64(len(p.held))].part.ID() != h.part.ID() {
			p.chunks--
		}
		p.release(h.part)
	}
}

func (p *path) release(part driver.Chunk) {
	if err := p.pool.Recycle(part); err != nil {
		panic(err) // each part is recycled once
	}
}

// forward posts the captured frames, unless they are dropped.
func (p *path) forward() {
	frames := p.frames[:p.captured]
	p.captured = 0
	c := &p.counts
	c.Frames += uint64(len(frames))
	free := p.room()
	down := p.down.Load()
	filled := 0
	for i := range frames {
		f := &frames[i]
		c.Bytes += uint64(f.Len)
		need := 1 + len(f.Rest)
		switch {
		case p.filter != nil && !p.filter.Match(f.Data, int(f.Len)):
			c.Filtered++
			continue
		case down:
			c.Down++
			continue
		case free-filled < need:
			c.Full++
			continue
		}
		c.Forwarded++
		c.ForwardedBytes += uint64(f.Len)
		p.edit(f.Data)
		b := p.tx.Buffer(filled)
		b.Attach(f.Data, p.at(f.Buffer))
		b.Offload = p.offload
		b.More = need > 1
		if filled++; need > 1 {
			filled = p.attachRest(f, filled)
		}
	}
	p.post(filled)
	p.publish()
}

// room is the number of buffers that may be posted: none if too many chunks wait to be sent,
// so that the receive ring keeps its own.
func (p *path) room() int {
	if p.chunks >= p.maxChunks {
		return 0
	}
	return p.tx.Free()
}

// post posts filled buffers and holds their part of a chunk, or recycles it.
func (p *path) post(filled int) {
	if filled == 0 {
		p.release(p.part)
		return
	}
	if p.tx.Post(filled) != filled {
		panic("forward: a transmit ring without room for its buffers")
	}
	p.posted += uint64(filled)
	last := (p.tail - 1) % uint64(len(p.held))
	if p.head == p.tail || p.held[last].part.ID() != p.part.ID() {
		p.chunks++
	}
	p.held[p.tail%uint64(len(p.held))] = heldPart{p.part, p.posted}
	p.tail++
}

// at is a buffer's address for the sending device.
func (p *path) at(buffer uint32) dma.IOVA { return p.base + dma.IOVA(buffer)*p.stride }

func (p *path) edit(frame []byte) {
	if p.dst != nil {
		copy(frame, p.dst[:])
	}
	if p.src != nil && len(frame) >= 12 {
		copy(frame[6:], p.src[:])
	}
}

// attachRest fills the buffers for the rest of a frame, from the filled-th on.
func (p *path) attachRest(f *ring.Frame, filled int) int {
	at := f.Buffer
	for i, data := range f.Rest {
		if at++; at%p.chunk == 0 {
			at = uint32(p.part.Next()) * p.chunk
		}
		b := p.tx.Buffer(filled)
		b.Attach(data, p.at(at))
		b.More = i < len(f.Rest)-1
		filled++
	}
	return filled
}

// publish makes the counts visible to other goroutines.
func (p *path) publish() {
	c, s := &p.counts, &p.shared
	s.frames.Store(c.Frames)
	s.bytes.Store(c.Bytes)
	s.forwarded.Store(c.Forwarded)
	s.forwardedBytes.Store(c.ForwardedBytes)
	s.filtered.Store(c.Filtered)
	s.full.Store(c.Full)
	s.down.Store(c.Down)
}

// published returns the counts of the last batch. Any goroutine may call it.
func (p *path) published() Counts {
	s := &p.shared
	return Counts{s.frames.Load(), s.bytes.Load(), s.forwarded.Load(), s.forwardedBytes.Load(), s.filtered.Load(), s.full.Load(), s.down.Load()}
}

const (
	yieldAfter = 16   // empty polls
	napAfter   = 4096 // empty polls
	nap        = 20 * time.Microsecond
)

// run forwards until the state says that it is to end.
func (p *path) run(state *atomic.Int32) {
	for idle := 0; ; {
		s := state.Load() // before the poll: frames may arrive after an empty one
		n := p.capture(batch)
		if n > 0 {
			idle = 0
			p.forward()
		}
		switch {
		case s == aborted, s == draining && n == 0:
			return
		case n > 0:
			continue
		}
		if idle++; idle > napAfter {
			time.Sleep(nap)
		} else if idle > yieldAfter {
			runtime.Gosched()
		}
	}
}

// abandon recycles all chunks: no device reads them any more.
func (p *path) abandon() {
	if p.captured > 0 {
		p.captured = 0
		p.release(p.part)
	}
	for ; p.head != p.tail; p.head++ {
		p.release(p.held[p.head%uint64(len(p.held))].part)
	}
	p.chunks = 0
}

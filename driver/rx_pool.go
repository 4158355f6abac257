package driver

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// Headroom is how many bytes before each frame in a pool belong to its buffer: room for
// what is put before a frame that is sent on.
const Headroom = cacheLine

// ErrNoPools is wrapped in the error of Open for a port whose queues can have no pools.
var ErrNoPools = errors.New("a virtual function has no ring-buffer pools")

// Errors of RxPool.Recycle.
var (
	ErrRecycled     = errors.New("the chunk was recycled before")
	ErrForeignChunk = errors.New("the chunk is of another pool")
)

// RxPool is a receive queue with a ring-buffer pool (WireCAP, section 3): the ring is cut into
// segments of M descriptors, each attached to an empty chunk of M packet buffers; the
// pool has R chunks. What is received is handed on as metadata and stays where the device
// has put it until it is recycled:
//
//	          posted                      next
//	            |                          |
//	... posted  | no chunk attached        | posted: filled (DD set) or still empty
//
//	          attach             Capture            Recycle
//	free chunk ─────► segment ───────────► consumer ───────► free chunk
//
// Without a free chunk the ring runs dry, and the device counts what it drops. One
// goroutine at a time uses Capture and Sleep, any may use the other methods.
type RxPool struct {
	q *RxQueue

	// Read by every Capture. The current segment is that of descriptor q.next.
	current    uint32 // its number
	begin, end uint32 // its first descriptor, and the one behind it
	captured   uint64 // parts of chunks captured so far
	tail       uint32 // as last stored
	unposted   bool   // a segment was attached since then

	// A chunk that is attached to the current segment next, as number + 1, 0 if there is none
	// yet, and how many of the segment's descriptors have been refilled with it.
	spare, refilled uint32

	chunks uint32
	area   *dma.Area // nil: the memory is the caller's

	// parts[b] is the number of the part of a chunk that begins with buffer b and was
	// captured, 0 if there is none. It is set by Capture and cleared by Recycle.
	parts []atomic.Uint64
	// left[c] is how many buffers of chunk c were not recycled since it was attached, which
	// is all of them between two uses.
	left []atomic.Int32

	// free holds the chunks that were recycled, as number + 1, oldest first: element n
	// modulo R is the n-th. There is always room, since no chunk is in it twice.
	free  []atomic.Uint32
	freed atomic.Uint64 // chunks recycled so far
	taken uint64        // and attached again; Capture only

	closed  atomic.Bool // by the port: the last chunk frees the memory
	freeing sync.Mutex
}

// Chunk is a chunk of packet buffers, or a part of one, that Capture has handed on.
type Chunk struct {
	pool   *RxPool
	number uint64 // of the part
	id     uint32
	first  uint32
	count  uint32
	next   uint32 // the chunk in which the last frame continues
	over   uint32 // its buffers that the frame takes, from the first on
}

// ID returns the number of the chunk in its pool.
func (c Chunk) ID() int { return int(c.id) }

// First returns the first buffer of the chunk that was handed on.
func (c Chunk) First() int { return int(c.first) }

// Buffers returns how many buffers were handed on, one for each descriptor. They are those
// of one chunk, and of the next one those in which the last frame continues.
func (c Chunk) Buffers() int { return int(c.count + c.over) }

// Next returns the chunk in whose first buffers the last frame continues, if it does not end in
// the chunk ID.
func (c Chunk) Next() int { return int(c.next) }

// NewRxPool returns a receive queue with a pool of chunks, of chunkSize buffers each, over
// memory that the caller owns: m.Buffers holds them all, without the first one's headroom.
// The ring is a whole number of segments, at least two. It attaches chunks to all segments
// but does not write the tail.
func NewRxPool(m RxMemory, chunks, chunkSize int) (*RxPool, error) {
	size := len(m.Descriptors) / ring.DescriptorSize
	switch {
	case chunkSize < 1 || size%chunkSize != 0 || size/chunkSize < 2:
		return nil, fmt.Errorf("receive pool: a ring of %d descriptors is no whole number, at least 2, of segments of %d", size, chunkSize)
	case chunks < 2 || chunks > math.MaxInt32/chunkSize:
		return nil, fmt.Errorf("receive pool: %d chunks of %d buffers: want at least 2, and at most %d buffers", chunks, chunkSize, math.MaxInt32)
	case m.MaxChain > chunkSize:
		return nil, fmt.Errorf("receive pool: chunks of %d buffers: a frame may take %d", chunkSize, m.MaxChain)
	}
	q, err := newRxQueue(m, chunks*chunkSize)
	if err != nil {
		return nil, err
	}
	q.pooled, q.owned = true, 0
	q.segment = uint32(chunkSize)
	q.attached = make([]uint32, size/chunkSize)
	if q.maxChain > 1 {
		q.rest = make([][]byte, chunks*(chunkSize+int(q.maxChain)))
	}
	p := &RxPool{
		q: q, end: q.segment, chunks: uint32(chunks),
		parts: make([]atomic.Uint64, chunks*chunkSize),
		left:  make([]atomic.Int32, chunks),
		free:  make([]atomic.Uint32, chunks),
	}
	for i := range p.chunks {
		p.left[i].Store(int32(chunkSize))
		p.put(i)
	}
	p.attach()
	p.tail, p.unposted = q.end(), false
	return p, nil
}

// Post passes what is attached to the device. It is called once, after the device's queue
// was enabled.
func (p *RxPool) Post() { p.q.Post() }

// attach attaches free chunks to the segments that have none. The caller passes them
// to the device.
func (p *RxPool) attach() {
	q := p.q
	for q.owned+q.segment <= q.size {
		chunk, ok := p.take()
		if !ok {
			return
		}
		p.fill(q.posted, chunk)
		p.attached(chunk)
	}
}

// fill refills the descriptors of the segment that begins at one, with the buffers of a chunk.
func (p *RxPool) fill(begin, chunk uint32) {
	addr, stride := uint64(p.IOVA(chunk*p.q.segment)), p.q.stride
	descs := p.q.descs[begin : begin+p.q.segment]
	for i := range descs {
		descs[i].Refill(addr)
		addr += stride
	}
}

// attached adds the next segment, which was filled, to those that the device may have.
func (p *RxPool) attached(chunk uint32) {
	q := p.q
	q.attached[q.posted/q.segment] = chunk * q.segment
	q.posted = ring.Add(q.posted, q.segment, q.size)
	q.owned += q.segment
	p.unposted = true
}

// Position returns the buffer with which the next Capture begins, and how many buffers its
// chunk has from there on, which is room for all frames that Capture may describe. So a
// caller can keep the frames of each buffer at a place of their own. The room is 0 while
// no chunk is attached to the ring. Position attaches chunks as Capture does.
func (p *RxPool) Position() (buffer uint32, room int) {
	q := p.q
	if p.post(); q.owned == 0 {
		return 0, 0
	}
	return q.buffer(q.next), int(p.end - q.next)
}

// put returns a chunk whose buffers were all recycled. The store is the release R5 of the
// consumer's accesses to them, pairs with the acquire A5 in take.
func (p *RxPool) put(chunk uint32) {
	n := p.freed.Add(1) - 1
	p.free[n%uint64(p.chunks)].Store(chunk + 1)
}

// take takes the chunk that was recycled first.
func (p *RxPool) take() (chunk uint32, ok bool) {
	slot := &p.free[p.taken%uint64(p.chunks)]
	v := slot.Load() // acquire A5, pairs with R5
	if v == 0 {
		return 0, false
	}
	slot.Store(0)
	p.taken++
	return v - 1, true
}

// Capture hands on received frames: at most len(frames), and those of one chunk. It
// describes them in frames and returns the part of the chunk that holds them, and their
// number; the part means nothing if it is 0. With partly, all that has arrived is handed
// on; without, only the frames of a chunk whose buffers are all filled: the caller passes
// partly once it has waited long enough. No byte of a frame is read, except of one whose
// descriptor says that its checksum, its CRC, or its tag needs a look.
//
// The memory of the frames is the caller's, to read and to change, until it recycles the
// chunk. Capture attaches chunks that were recycled to the ring. It does not wait and
// does not allocate.
func (p *RxPool) Capture(frames []ring.Frame, partly bool) (Chunk, int) {
	q := p.q
	q.timedN = 0
	p.post()
	if q.owned == 0 || !partly && q.descs[p.end-1].Status()&ring.RxDD == 0 {
		q.serveRestart()
		return Chunk{}, 0
	}
	first, n := q.next, 0
	at := first // may be behind the segment, even behind the ring
	for n < len(frames) && at < p.end {
		fast := p.pollFast(at, frames[n:])
		n += fast
		at += uint32(fast)
		if n == len(frames) || at == p.end {
			break
		}
		q.next = at
		used, complete := q.pollSlow(at, &frames[n])
		if used == 0 {
			break
		}
		q.owned -= used
		if at += used; complete {
			frames[n].Buffer = q.buffer(q.next)
			n++
		}
	}
	if at == first {
		return Chunk{}, 0
	}
	return p.handOn(first, at, n)
}

// post attaches chunks that were recycled to segments without one, and passes to the device
// what was attached.
func (p *RxPool) post() {
	q := p.q
	if q.owned+q.segment <= q.size {
		p.attach()
	} else if !p.unposted {
		return
	}
	if tail := q.end(); tail != p.tail {
		// Release R1 of the descriptors, as in RxQueue.Release.
		q.tail.Store32(q.tailAt, tail)
		p.tail = tail
	}
	p.unposted = false
}

// Run returns the next descriptors, at most so many and those of one chunk, for a caller
// that polls them itself up to the first that is not ring.IsFast, refills those that it has
// polled, and then calls Take. As Capture does, it attaches chunks that were recycled.
//
// The caller refills descriptors while they are in its cache, with a chunk that is empty
// already.
func (p *RxPool) Run(most int) ring.Run {
	p.post()
	q := p.q
	if q.owned == 0 {
		return ring.Run{}
	}
	begin := q.next - p.begin
	run := ring.Run{
		Descriptors: q.descs[q.next:min(p.end, q.next+uint32(most))],
		Buffer:      q.attached[p.current] + begin, Limit: q.limit, Info: q.crc,
	}
	if p.spare == 0 && begin == 0 && q.posted == p.begin {
		if chunk, ok := p.take(); ok {
			p.spare, p.refilled = chunk+1, 0
		}
	}
	if p.spare != 0 && p.refilled == begin {
		run.Next = uint64(p.IOVA((p.spare-1)*q.segment + begin))
	}
	return run
}

// Take hands on the frames in the first n descriptors of a Run, at least one.
func (p *RxPool) Take(n int) Chunk {
	p.took(n)
	c, _ := p.handOn(p.q.next, p.q.next+uint32(n), n)
	return c
}

// Extend is Take that adds the frames to c, the last part that was handed on, which costs
// less than another part. It returns false, without effect, if they do not follow it in its
// chunk. c was not recycled.
func (p *RxPool) Extend(c *Chunk, n int) bool {
	q := p.q
	begin := q.next - p.begin
	if c.number != p.captured || begin == 0 || c.first+c.count != begin || q.attached[p.current] != c.id*q.segment {
		return false
	}
	c.count += uint32(n)
	p.took(n)
	q.recycled += uint64(n)
	q.frames += uint64(n)
	if q.next += uint32(n); q.next == p.end {
		q.next = p.nextSegment()
	}
	return true
}

// took takes n descriptors of a Run.
func (p *RxPool) took(n int) {
	p.q.owned -= uint32(n)
	if p.spare != 0 && p.refilled == p.q.next-p.begin {
		p.refilled += uint32(n)
	}
}

// nextSegment makes the next segment the current one, and returns its first descriptor. The
// segment before gets its spare chunk.
func (p *RxPool) nextSegment() uint32 {
	if p.spare != 0 {
		if p.refilled < p.q.segment {
			p.fill(p.begin, p.spare-1)
		}
		p.attached(p.spare - 1)
		p.spare = 0
	}
	p.begin = p.end
	if p.current++; p.begin == p.q.size {
		p.current, p.begin = 0, 0
	}
	p.end = p.begin + p.q.segment
	return p.begin
}

// pollFast polls frames of one descriptor each from descriptor at on, up to the segment's
// end, the first other frame, or the first descriptor that is not done, as
// RxQueue.pollFast does.
func (p *RxPool) pollFast(at uint32, frames []ring.Frame) int {
	q := p.q
	descs := q.descs[at:p.end]
	if len(descs) > len(frames) {
		descs = descs[:len(frames)]
	}
	frames = frames[:len(descs)]
	stride, limit, crc := q.stride, q.limit, q.crc
	buffer := q.attached[p.current] + at - p.begin
	buf := q.bufs.From(buffer)
	n := 0
	for ; n < len(descs); n++ {
		d := &descs[n]
		// Acquire of word 0 and the packet (A1 of package ring).
		s := d.Status()
		length := uint32(s.Length())
		t := d.Type()
		if !ring.IsFast(t, s) || length-1 >= limit {
			break
		}
		f := &frames[n]
		f.Data = buf.Slice(length)
		buf = buf.Next(stride)
		if f.Rest != nil {
			f.Rest = nil
		}
		f.Len = length
		f.VLAN = 0
		f.Buffer = buffer
		buffer++
		hash, info := ring.DescribeFast(t, s)
		f.Hash, f.Info = hash, info|crc
	}
	q.owned -= uint32(n)
	return n
}

// handOn hands on n frames in the descriptors from first to at, and makes at the next one.
func (p *RxPool) handOn(first, at uint32, n int) (Chunk, int) {
	q := p.q
	c := Chunk{pool: p, id: q.attached[p.current] / q.segment, first: first - p.begin, count: min(at, p.end) - first}
	if at >= p.end {
		c.over = at - p.end
		if at = p.nextSegment() + c.over; c.over > 0 {
			c.next = q.attached[p.current] / q.segment
		}
	}
	q.next = at
	q.recycled += uint64(c.Buffers())
	q.frames += uint64(n)
	if n == 0 {
		p.giveBack(c)
		return Chunk{}, 0
	}
	p.captured++
	c.number = p.captured
	p.parts[c.id*q.segment+c.first].Store(c.number)
	return c, n
}

// Recycle returns the buffers of a chunk, whose frames must not be used any more, in any
// order. It fails for a chunk that was recycled before (ErrRecycled) or is of another pool
// (ErrForeignChunk), without effect. It does not wait and does not allocate.
func (p *RxPool) Recycle(c Chunk) error {
	if c.pool != p {
		return fmt.Errorf("recycle chunk %d: %w", c.id, ErrForeignChunk)
	}
	if !p.parts[c.id*p.q.segment+c.first].CompareAndSwap(c.number, 0) {
		return fmt.Errorf("recycle chunk %d from buffer %d on: %w", c.id, c.first, ErrRecycled)
	}
	p.giveBack(c)
	if p.closed.Load() { // A6, pairs with R6 in close: else close sees that this part is back
		return p.freeUnused()
	}
	return nil
}

// giveBack returns buffers, and with the last one of a chunk the chunk.
func (p *RxPool) giveBack(c Chunk) {
	p.giveBackOf(c.id, c.count)
	if c.over > 0 {
		p.giveBackOf(c.next, c.over)
	}
}

// giveBackOf returns buffers of one chunk.
func (p *RxPool) giveBackOf(chunk, buffers uint32) {
	if buffers < p.q.segment {
		if p.left[chunk].Add(-int32(buffers)) > 0 {
			return
		}
		p.left[chunk].Store(int32(p.q.segment))
	}
	p.put(chunk)
}

// close takes the memory from the device. The process keeps it until all chunks that were
// captured are recycled.
func (p *RxPool) close() error {
	err := p.area.Unmap()
	p.closed.Store(true) // R6
	return errors.Join(err, p.freeUnused())
}

// freeUnused frees the memory of a closed pool if no chunk is out.
func (p *RxPool) freeUnused() error {
	p.freeing.Lock()
	defer p.freeing.Unlock()
	if p.Out() > 0 {
		return nil
	}
	return p.area.Close()
}

// Chunks returns the number of chunks of the pool (R).
func (p *RxPool) Chunks() int { return int(p.chunks) }

// ChunkSize returns the number of buffers of a chunk (M).
func (p *RxPool) ChunkSize() int { return int(p.q.segment) }

// Out returns how many parts of chunks were captured and not recycled. It takes a while: it
// looks at each buffer.
func (p *RxPool) Out() (n int) {
	for i := range p.parts {
		if p.parts[i].Load() != 0 {
			n++
		}
	}
	return n
}

// Empty returns how many chunks are neither attached to a segment nor captured. It is for the
// caller of Capture.
func (p *RxPool) Empty() int {
	n := int(p.freed.Load() - p.taken)
	if p.spare != 0 {
		n++
	}
	return n
}

// Dry reports whether the device may have too few buffers for a frame, gets none before a chunk
// is recycled, and has completed no frame that Capture would hand on. The first buffers of a
// longer frame may be filled. It is for the caller of Capture.
func (p *RxPool) Dry() bool {
	q := p.q
	if p.Empty() > 0 || q.owned >= q.maxChain {
		return false
	}
	at := q.next
	for range q.owned {
		if q.descs[at].Status()&ring.RxEOP != 0 {
			return false
		}
		at = ring.Next(at, q.size)
	}
	return true
}

// Depth returns for how long the pool can take the shortest frames without a gap between
// them, at a rate of the line in bits a second, if nothing is recycled.
func (p *RxPool) Depth(lineRate uint64) time.Duration {
	const shortest = (7 + 1 + minFrame + crcSize + 12) * 8 // bits, with preamble and gap
	buffers := float64(p.chunks) * float64(p.q.segment)
	return time.Duration(buffers * shortest / float64(lineRate) * float64(time.Second))
}

// IOVA returns the device address of a buffer, behind its headroom.
func (p *RxPool) IOVA(buffer uint32) dma.IOVA {
	return dma.IOVA(p.q.iova + uint64(buffer)*p.q.stride)
}

// Stride returns the distance of two buffers in bytes: buffer b begins at byte b*Stride of
// Memory, with its headroom.
func (p *RxPool) Stride() int { return int(p.q.stride) }

// Buffer returns a buffer: Headroom bytes, then those that the device may write.
func (p *RxPool) Buffer(buffer uint32) []byte {
	at, size := int(buffer)*p.Stride(), Headroom+p.q.bufs.Size()
	return p.area.Bytes()[at : at+size : at+size]
}

// Memory returns the memory of all buffers, which the pool owns: for the device of another
// port, which is to send what is in it.
func (p *RxPool) Memory() *hugepage.Memory { return p.area.Memory() }

// CanSleep, Sleep and Wake are those of RxQueue. Sleep returns at once while no chunk is
// attached to the ring.
func (p *RxPool) CanSleep() bool                 { return p.q.CanSleep() }
func (p *RxPool) Sleep(limit time.Duration) bool { return p.q.Sleep(limit) }
func (p *RxPool) Wake()                          { p.q.Wake() }

// Timed returns the frames of the last Capture of which the device has taken a time stamp,
// as RxQueue.Timed does of a Poll.
func (p *RxPool) Timed() [][]byte { return p.q.Timed() }

// SleepStats, Overlong and Malformed are those of RxQueue.
func (p *RxPool) SleepStats() SleepStats { return p.q.SleepStats() }
func (p *RxPool) Overlong() uint64       { return p.q.Overlong() }
func (p *RxPool) Malformed() uint64      { return p.q.Malformed() }

package driver

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// RxMemory is the memory of a receive queue and its tail register.
type RxMemory struct {
	Descriptors []byte   // the ring, 16 bytes a descriptor
	Buffers     []byte   // packet buffers, one for each descriptor or those of a pool
	IOVA        dma.IOVA // device address of Buffers
	BufferSize  int      // bytes the device may write to one buffer
	Stride      int      // bytes from one buffer to the next; 0 = BufferSize

	Tail   pci.Region // of the tail register
	TailAt uint32     // its offset

	MaxChain    int  // descriptors that one frame may take; 0 = 1
	RefillBatch int  // descriptors collected before the tail is written; 0 = 1
	Stripped    bool // the device strips VLAN tags on this queue
	HasCRC      bool // frames end in their CRC
}

// RxQueue is a receive queue: descriptor i always has buffer i, which is recycled in
// place. It is used by one goroutine at a time.
//
//	          posted            next
//	            |                 |
//	... posted  | polled and      | posted: filled (DD set) or still empty
//	            | refilled, not   |
//	            | posted again    |
//
// It implements capture.Source and, on a port with QueueInterrupts, capture.Sleeper.
type RxQueue struct {
	// Read by every Poll.
	descs  []ring.RxDescriptor // written by device and host in turn
	bufs   ring.Buffers        // written by the device
	iova   uint64              // of buffer 0
	stride uint64
	size   uint32 // descriptors
	next   uint32 // index of the first descriptor not yet polled; host only
	// limit is the longest packet of the fast path: BufferSize, or 0 while the rest
	// of an overlong frame is being skipped.
	limit uint32
	strip ring.Info // ring.Stripped if the device strips tags
	crc   ring.Info // ring.HasCRC if frames end in their CRC

	// Read by every Release.
	posted uint32 // index of the first descriptor polled and not posted again
	batch  uint32
	tail   pci.Region
	tailAt uint32

	// Frames of several descriptors: rest[i] is for the slice of buffer i, with
	// maxChain more so that a chain over the ring's end is contiguous.
	rest     [][]byte
	maxChain uint32

	// Descriptor i has buffer attached[i/segment] + i%segment. Without a pool the ring is
	// one segment, whose buffers are always the same.
	segment  uint32
	attached []uint32
	pooled   bool   // a descriptor that was polled gets another buffer, from a pool
	owned    uint32 // descriptors from next on that may be polled; without a pool: all

	tag [4]byte // a stripped one, for the CRC of a bad frame

	timed  [maxTimed][]byte // frames of the last Poll with a time stamp
	timedN int

	restart restart // of the port

	recycled uint64   // descriptors posted again so far
	frames   uint64   // polled so far
	sleeper  *sleeper // nil: the queue is only polled

	overlong  atomic.Uint64 // frames dropped for taking more than maxChain descriptors
	malformed atomic.Uint64 // frames with a descriptor of impossible length
}

// NewRxQueue returns a receive queue over memory that the caller owns and keeps until
// the queue is no longer used. It fills all descriptors but does not write the tail:
// Post does so once the device's queue is enabled.
func NewRxQueue(m RxMemory) (*RxQueue, error) {
	size := len(m.Descriptors) / ring.DescriptorSize
	q, err := newRxQueue(m, size)
	if err != nil {
		return nil, err
	}
	if q.maxChain > 1 {
		q.rest = make([][]byte, size+int(q.maxChain))
	}
	for i := range q.descs {
		q.refill(uint32(i))
	}
	return q, nil
}

// newRxQueue returns a queue with some number of buffers whose descriptors are not filled.
func newRxQueue(m RxMemory, buffers int) (*RxQueue, error) {
	size := len(m.Descriptors) / ring.DescriptorSize
	if err := ring.CheckSize(size); err != nil {
		return nil, fmt.Errorf("receive queue: %w", err)
	}
	stride := m.Stride
	if stride == 0 {
		stride = m.BufferSize
	}
	switch {
	case m.BufferSize < 64 || m.BufferSize > 16<<10:
		return nil, fmt.Errorf("receive queue: buffers of %d bytes: want 64 to 16384", m.BufferSize)
	case stride < m.BufferSize || stride%2 != 0:
		return nil, fmt.Errorf("receive queue: buffers of %d bytes every %d: want an even distance of at least their size", m.BufferSize, stride)
	case len(m.Buffers) < (buffers-1)*stride+m.BufferSize:
		return nil, fmt.Errorf("receive queue: %d bytes hold no %d buffers", len(m.Buffers), buffers)
	case m.Tail == nil:
		return nil, errors.New("receive queue: no tail register")
	}
	maxChain := min(max(m.MaxChain, 1), size-1)
	q := &RxQueue{
		descs:  ring.RxDescriptors(m.Descriptors)[:size:size],
		bufs:   ring.NewBuffers(m.Buffers, buffers, m.BufferSize, stride),
		iova:   uint64(m.IOVA),
		stride: uint64(stride),
		size:   uint32(size),
		limit:  uint32(m.BufferSize),
		// With all descriptors of a batch but one not posted yet, and the one that is
		// never posted, the longest frame must still fit, or it would never complete.
		batch:    uint32(min(max(m.RefillBatch, 1), size/2, size-maxChain)),
		tail:     m.Tail,
		tailAt:   m.TailAt,
		maxChain: uint32(maxChain),
		segment:  uint32(size),
		attached: []uint32{0},
		owned:    uint32(size),
	}
	if m.HasCRC {
		q.crc = ring.HasCRC
	}
	if m.Stripped {
		q.strip = ring.Stripped
	}
	return q, nil
}

// Size returns the number of descriptors.
func (q *RxQueue) Size() int { return int(q.size) }

// Post passes the whole ring to the device, except the one descriptor that is never
// posted. It is called once, after the device's queue was enabled. The store is the
// release R1, as in Release.
func (q *RxQueue) Post() { q.tail.Store32(q.tailAt, q.end()) }

// end returns the tail behind the descriptors posted. If these are the whole ring, the last
// one is left out: tail = head would mean that the device owns none.
func (q *RxQueue) end() uint32 {
	if q.pooled && q.owned < q.size {
		return q.posted
	}
	return ring.Prev(q.posted, q.size)
}

// rewind starts an empty ring anew, for a device's queue that was disabled. All frames
// were released.
func (q *RxQueue) rewind() {
	q.recycled += uint64(ring.Distance(q.posted, q.next, q.size))
	q.next, q.posted, q.limit = 0, 0, uint32(q.bufs.Size())
	q.restart.state.Store(restartNone)
	for i := range q.descs {
		q.refill(uint32(i))
	}
}

// Poll describes up to len(frames) received frames and returns how many. Their
// memory is valid until Release. Poll does not wait and does not allocate.
func (q *RxQueue) Poll(frames []ring.Frame) int {
	n := 0
	q.timedN = 0
	// The bound protects against a device that sets DD in descriptors it does not own.
	for range q.size {
		fast := q.pollFast(frames[n:])
		if q.crc != 0 {
			for i := range frames[n : n+fast] {
				frames[n+i].Info |= q.crc
			}
		}
		n += fast
		if q.next == q.size {
			q.next = 0
			if n < len(frames) {
				continue
			}
		}
		if n == len(frames) {
			break
		}
		used, complete := q.pollSlow(q.next, &frames[n])
		if used == 0 {
			break // no frame, or its last descriptor is not done
		}
		q.next = ring.Add(q.next, used, q.size)
		if complete {
			n++
		}
	}
	q.frames += uint64(n)
	return n
}

// pollFast polls frames of the fast path up to the first other frame, the ring's end,
// or the first descriptor that is not done. It calls no function that is not
// inlined, so that its variables stay in registers.
func (q *RxQueue) pollFast(frames []ring.Frame) int {
	descs := q.descs[q.next:]
	if len(descs) > len(frames) {
		descs = descs[:len(frames)]
	}
	frames = frames[:len(descs)]
	// Local copies: after each store below the compiler would load the fields again.
	stride, limit := q.stride, q.limit
	addr := q.iova + uint64(q.next)*stride
	buf := q.bufs.From(q.next)
	for n := range descs {
		d := &descs[n]
		// Acquire of word 0 and the packet (A1 of package ring).
		s := d.Status()
		length := uint32(s.Length())
		t := d.Type()
		if !ring.IsFast(t, s) || length-1 >= limit {
			q.next += uint32(n)
			return n
		}
		d.Refill(addr)
		addr += stride
		f := &frames[n]
		f.Data = buf.Slice(length)
		buf = buf.Next(stride)
		if f.Rest != nil {
			f.Rest = nil
		}
		f.Len = length
		f.VLAN = 0
		f.Hash, f.Info = ring.DescribeFast(t, s)
	}
	q.next += uint32(len(descs))
	return len(descs)
}

// Release posts the descriptors of all polled frames again. It writes the tail only
// once RefillBatch descriptors are refilled, and one behind, because tail = head
// would mean that the device owns none.
func (q *RxQueue) Release() {
	n := ring.Distance(q.posted, q.next, q.size)
	if n < q.batch {
		return
	}
	q.recycled += uint64(n)
	q.posted = q.next
	// Release R1 of the descriptors that Poll has refilled, pairs with A1: the device
	// loads the tail before it reads them (drivertest.Ring.Owned).
	q.tail.Store32(q.tailAt, ring.Prev(q.next, q.size))
}

// maxTimed is how many frames of one Poll are reported as stamped. The device has room for
// one stamp, so there is hardly a second.
const maxTimed = 4

// Timed returns the frames of the last Poll of which the device has taken a time stamp
// (Clock.Received): the Data of each. It implements capture.Timed.
func (q *RxQueue) Timed() [][]byte { return q.timed[:q.timedN] }

// Overlong returns the number of frames dropped because they took more descriptors
// than a frame of MaxFrame bytes can. It may be called from any goroutine.
func (q *RxQueue) Overlong() uint64 { return q.overlong.Load() }

// Malformed returns the number of frames dropped because the length in a descriptor
// was impossible: 0, or more than the buffer holds. Only a broken device sends them.
func (q *RxQueue) Malformed() uint64 { return q.malformed.Load() }

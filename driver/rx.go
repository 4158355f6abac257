package driver

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// RxMemory is the memory of a receive queue and the register that passes it on.
type RxMemory struct {
	Descriptors []byte   // the ring, 16 bytes a descriptor
	Buffers     []byte   // packet buffers, one for each descriptor
	IOVA        dma.IOVA // where the device sees Buffers
	BufferSize  int      // bytes the device may write to one buffer
	Stride      int      // bytes from one buffer to the next; 0 = BufferSize

	Tail   pci.Region // holds the tail register
	TailAt uint32     // at this offset

	MaxChain    int  // descriptors that one frame may take; 0 = 1
	RefillBatch int  // descriptors collected before the tail is written; 0 = 1
	Stripped    bool // the device strips VLAN tags on this queue
}

// RxQueue is a receive queue: descriptor i always owns buffer i, which is
// recycled in place. It is used by one goroutine at a time.
//
//	        given             next
//	          |                 |
//	... lent  | read by Poll,   | lent to the device: filled or still empty
//	to device | armed again,    | (DD says which)
//	          | not yet lent    |
//
// It satisfies capture.Source and, on a port with QueueInterrupts, capture.Sleeper.
type RxQueue struct {
	// Read by every Poll.
	descs  []ring.RxDescriptor // written by device and host in turn
	bufs   ring.Buffers        // written by the device
	iova   uint64              // of buffer 0
	stride uint64
	size   uint32 // descriptors
	next   uint32 // index of the first descriptor not yet polled; host only
	// limit is the longest packet the short way takes: BufferSize, or 0 while
	// the rest of an overlong frame is being skipped.
	limit uint32
	strip ring.Info // ring.Stripped when the device strips tags

	// Read by every Release.
	given  uint32 // index of the first descriptor polled but not lent again
	batch  uint32
	tail   pci.Region
	tailAt uint32

	// Frames of several descriptors: rest[i] is room for the slice of buffer i,
	// with maxChain more so that a chain over the ring's end stays in one piece.
	rest     [][]byte
	maxChain uint32

	returned uint64   // descriptors ever lent again
	sleeper  *sleeper // nil: the queue is polled only

	overlong  atomic.Uint64 // frames dropped for taking more than maxChain descriptors
	malformed atomic.Uint64 // frames with a descriptor whose length cannot be
}

// NewRxQueue makes a receive queue over memory that the caller owns and keeps
// until the queue is no longer used. All descriptors are armed and the tail is
// not written: Lend does so once the device's queue is enabled.
func NewRxQueue(m RxMemory) (*RxQueue, error) {
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
		return nil, fmt.Errorf("receive queue: buffers of %d bytes every %d: want an even distance, at least their size", m.BufferSize, stride)
	case len(m.Buffers) < (size-1)*stride+m.BufferSize:
		return nil, fmt.Errorf("receive queue: %d bytes hold no %d buffers", len(m.Buffers), size)
	case m.Tail == nil:
		return nil, errors.New("receive queue: no tail register")
	}
	maxChain := min(max(m.MaxChain, 1), size-1)
	q := &RxQueue{
		descs:  ring.RxDescriptors(m.Descriptors)[:size:size],
		bufs:   ring.NewBuffers(m.Buffers, size, m.BufferSize, stride),
		iova:   uint64(m.IOVA),
		stride: uint64(stride),
		size:   uint32(size),
		limit:  uint32(m.BufferSize),
		// With all of a batch but one held back, and the one that stays behind,
		// the longest frame must still find room, or it would never end.
		batch:    uint32(min(max(m.RefillBatch, 1), size/2, size-maxChain)),
		tail:     m.Tail,
		tailAt:   m.TailAt,
		maxChain: uint32(maxChain),
	}
	if q.maxChain > 1 {
		q.rest = make([][]byte, size+int(q.maxChain))
	}
	if m.Stripped {
		q.strip = ring.Stripped
	}
	for i := range q.descs {
		q.arm(uint32(i))
	}
	return q, nil
}

// Size is the number of descriptors.
func (q *RxQueue) Size() int { return int(q.size) }

// Lend gives the device the whole ring, but for the one descriptor that stays
// behind. It is called once, after the device's queue was enabled.
func (q *RxQueue) Lend() { q.tail.Store32(q.tailAt, ring.Prev(q.given, q.size)) }

// Poll fills frames with what the device has received, at most len(frames), and
// returns how many; it never waits and never allocates. Their memory is the
// caller's until Release.
func (q *RxQueue) Poll(frames []ring.Frame) int {
	n := 0
	// The bound is for a device that claims descriptors it does not own.
	for range q.size {
		n += q.plain(frames[n:])
		if q.next == q.size {
			q.next = 0
			if n < len(frames) {
				continue
			}
		}
		if n == len(frames) {
			break
		}
		used, whole := q.other(q.next, &frames[n])
		if used == 0 {
			break // nothing there, or its last descriptor is still on its way
		}
		q.next = ring.Add(q.next, used, q.size)
		if whole {
			n++
		}
	}
	return n
}

// plain takes plain frames until it meets another one, the ring's end, or the
// first descriptor that is not done. It calls nothing, so that everything it
// uses stays in registers.
func (q *RxQueue) plain(frames []ring.Frame) int {
	descs := q.descs[q.next:]
	if len(descs) > len(frames) {
		descs = descs[:len(frames)]
	}
	frames = frames[:len(descs)]
	// Locals, or each store below would make the compiler load them again.
	stride, limit := q.stride, q.limit
	addr := q.iova + uint64(q.next)*stride
	buf := q.bufs.From(q.next)
	for n := range descs {
		d := &descs[n]
		// Acquires word 0 and the packet: the device writes them before DD.
		s := d.Status()
		length := uint32(s.Length())
		t := d.Type()
		if !ring.IsPlain(t, s) || length-1 >= limit {
			q.next += uint32(n)
			return n
		}
		d.Arm(addr)
		addr += stride
		f := &frames[n]
		f.Data = buf.Slice(length)
		buf = buf.Next(stride)
		if f.Rest != nil {
			f.Rest = nil
		}
		f.Len = length
		f.VLAN = 0
		f.Hash, f.Info = ring.DescribePlain(t, s)
	}
	q.next += uint32(len(descs))
	return len(descs)
}

// Release lends the descriptors of all polled frames to the device again. The
// tail is written one behind, for tail = head would mean that none is left, and
// only once RefillBatch descriptors have come together.
func (q *RxQueue) Release() {
	n := ring.Distance(q.given, q.next, q.size)
	if n < q.batch {
		return
	}
	q.returned += uint64(n)
	q.given = q.next
	// Store32 orders the read formats written by Poll before the tail.
	q.tail.Store32(q.tailAt, ring.Prev(q.next, q.size))
}

// Overlong is the number of frames dropped because they took more descriptors
// than a frame of MaxFrame bytes can. It may be called from any goroutine.
func (q *RxQueue) Overlong() uint64 { return q.overlong.Load() }

// Malformed is the number of frames dropped because the length in a descriptor
// cannot be: 0, or more than the buffer holds. Only a broken device has any.
func (q *RxQueue) Malformed() uint64 { return q.malformed.Load() }

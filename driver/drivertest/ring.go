package drivertest

import (
	"encoding/binary"
	"fmt"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// Ring is a receive queue in memory whose frames the test writes instead of a device.
// Filling and polling must not run concurrently.
type Ring struct {
	Flows int // RSS hashes that the next Fill uses in turn; 0: each frame has one of its own

	mem   *memory
	descs []ring.RxDescriptor
	bufs  []byte
	opt   Options
	tail  Register
	head  uint32 // index of the next descriptor to fill
	seq   uint32
	queue *driver.RxQueue
	pool  *driver.RxPool
}

// Options of a Ring; the zero value is a ring like the driver's.
type Options struct {
	Size        int  // descriptors, default 4096
	BufferSize  int  // bytes, default 2048
	Stride      int  // bytes between buffers, default the driver's
	MaxChain    int  // descriptors per frame, default 8
	RefillBatch int  // default 1
	Stripped    bool // VLAN tags are stripped
	Chunks      int  // of a pool; 0: none
	ChunkSize   int  // buffers of a chunk

	Memory *hugepage.Memory // of the pool's buffers, each with its headroom; nil: the ring's own
}

// iova is the device address of the packet buffers.
const iova dma.IOVA = 0x10_0000_0000

// NewRing returns a ring and its queue.
func NewRing(o Options) (*Ring, error) {
	if o.Size == 0 {
		o.Size = ring.MaxSize
	}
	if o.BufferSize == 0 {
		o.BufferSize = 2048
	}
	if o.Stride == 0 {
		o.Stride = dma.Stride(o.BufferSize)
	}
	if o.MaxChain == 0 {
		o.MaxChain = 8
	}
	if err := ring.CheckSize(o.Size); err != nil {
		return nil, err
	}
	ringBytes := o.Size * ring.DescriptorSize
	buffers := o.Size
	if o.Chunks > 0 {
		buffers = o.Chunks * o.ChunkSize
	}
	bufBytes := buffers * o.Stride
	mem, err := allocate(ringBytes + bufBytes)
	if err != nil {
		return nil, fmt.Errorf("allocate a test ring: %w", err)
	}
	r := &Ring{mem: mem, opt: o, bufs: mem.bytes[ringBytes : ringBytes+bufBytes]}
	if o.Memory != nil {
		r.bufs = o.Memory.Bytes()[driver.Headroom:]
	}
	r.descs = ring.RxDescriptors(mem.bytes[:ringBytes])
	m := driver.RxMemory{
		Descriptors: mem.bytes[:ringBytes], Buffers: r.bufs, IOVA: iova,
		BufferSize: o.BufferSize, Stride: o.Stride, Tail: &r.tail,
		MaxChain: o.MaxChain, RefillBatch: o.RefillBatch, Stripped: o.Stripped,
	}
	if err := r.open(m); err != nil {
		return nil, fmt.Errorf("%w; %w", err, mem.close())
	}
	return r, nil
}

// open opens the queue over memory m.
func (r *Ring) open(m driver.RxMemory) (err error) {
	if r.opt.Chunks > 0 {
		if r.pool, err = driver.NewRxPool(m, r.opt.Chunks, r.opt.ChunkSize); err != nil {
			return err
		}
		r.pool.Post()
		return nil
	}
	if r.queue, err = driver.NewRxQueue(m); err != nil {
		return err
	}
	r.queue.Post()
	return nil
}

// Pool returns the queue that reads a ring with Options.Chunks, Queue that of another.
func (r *Ring) Pool() *driver.RxPool { return r.pool }

// Memory returns the packet buffers.
func (r *Ring) Memory() []byte { return r.bufs }

// Queue returns the queue that reads the ring.
func (r *Ring) Queue() *driver.RxQueue { return r.queue }

// Close frees the memory; neither the queue nor its frames may be used again.
func (r *Ring) Close() error { return r.mem.close() }

// Owned returns how many posted descriptors are not filled. Loading the tail is the
// acquire A1, pairs with the release R1 in package driver.
func (r *Ring) Owned() int {
	return int(ring.Distance(r.head, r.tail.Value(), uint32(r.opt.Size)))
}

// Tail returns the value of the tail register and the number of stores to it.
func (r *Ring) Tail() (value uint32, writes int) { return r.tail.Value(), r.tail.Writes() }

// Fill writes up to n frames of size bytes (of several descriptors if they do not fit
// a buffer) to the ring, as a device does, and returns how many had descriptors.
// Each is UDP over IPv4 with a valid header, an RSS hash (see Flows), and a number in its last 4
// bytes that counts all frames of the ring.
func (r *Ring) Fill(n, size int) int {
	chain := max(1, (size+r.opt.BufferSize-1)/r.opt.BufferSize)
	for done := range n {
		if r.Owned() < chain {
			return done
		}
		r.put(size)
	}
	return n
}

func (r *Ring) put(size int) {
	flow := r.seq
	if r.Flows > 0 {
		flow %= uint32(r.Flows)
	}
	typ := (ring.PktIPv4 | ring.PktUDP).WithHash(ring.RSSUDPv4, flow*0x9e3779b1)
	flags := ring.RxDD | ring.RxIPCS | ring.RxL4I | ring.RxUDPCS
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], r.seq)
	r.seq++
	for at := 0; ; {
		length := min(size-at, r.opt.BufferSize)
		b := r.next()[:length]
		if at == 0 {
			copy(b, header)
			if length >= 18 {
				binary.BigEndian.PutUint16(b[16:], uint16(size-14))
			}
		}
		for i, v := range number { // its part in this buffer
			if p := size - 4 + i - at; p >= 0 && p < length {
				b[p] = v
			}
		}
		at += length
		s := flags.WithLength(length)
		if at == size {
			s |= ring.RxEOP
		}
		r.Complete(typ, s)
		if at == size {
			return
		}
	}
}

// header is Ethernet, IPv4 and UDP from 10.0.0.1 to 10.0.0.2.
var header = []byte{
	0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1, 0x08, 0x00,
	0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	0x10, 0, 0x20, 0, 0, 26, 0x12, 0x34,
}

// Buffer returns the packet buffer of descriptor i.
func (r *Ring) Buffer(i int) []byte {
	at := i * r.opt.Stride
	return r.bufs[at : at+r.opt.BufferSize : at+r.opt.BufferSize]
}

// next returns the buffer whose address is in the next descriptor to be filled.
func (r *Ring) next() []byte {
	at := int(r.descs[r.head].Words[0] - uint64(iova))
	if at%r.opt.Stride != 0 || at >= len(r.bufs) {
		panic(fmt.Sprintf("drivertest: descriptor %d refilled with %#x", r.head, r.descs[r.head].Words[0]))
	}
	return r.bufs[at : at+r.opt.BufferSize : at+r.opt.BufferSize]
}

// Head returns the index of the descriptor that Complete writes next.
func (r *Ring) Head() int { return int(r.head) }

// Restart makes descriptor i the next one that Complete writes, as a reset device is told.
func (r *Ring) Restart(i uint32) { r.head = i }

// Complete writes the next descriptor back with any content, valid or not. It panics
// if the device owns none, or if the queue has refilled it wrongly.
func (r *Ring) Complete(t ring.RxType, s ring.RxStatus) {
	if r.Owned() == 0 {
		panic("drivertest: the queue has posted no descriptor")
	}
	d := &r.descs[r.head]
	if want := uint64(iova) + uint64(r.head)*uint64(r.opt.Stride); r.pool == nil && d.Words[0] != want || d.Words[1] != 0 {
		panic(fmt.Sprintf("drivertest: descriptor %d refilled with %#x %#x, want %#x 0", r.head, d.Words[0], d.Words[1], want))
	}
	d.WriteBack(t, s)
	r.head = ring.Next(r.head, uint32(r.opt.Size))
}

// FlushCaches evicts the ring's descriptors and buffers from the processor's caches, as
// if a device had written them to memory.
func (r *Ring) FlushCaches() {
	flushLines(&r.mem.bytes[0], uintptr(len(r.mem.bytes)))
	flushLines(&r.bufs[0], uintptr(len(r.bufs)))
}

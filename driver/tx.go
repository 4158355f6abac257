package driver

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

const (
	// reportEvery is the number of descriptors after which the device reports that it has
	// fetched them; each report costs a bus transaction (7.2.3.4.1).
	reportEvery = 32

	maxPacket = 1<<18 - 1 // PAYLEN has 18 bits
)

// TxMemory is the memory of a transmit queue and its tail register.
type TxMemory struct {
	Descriptors []byte   // the ring, 16 bytes a descriptor
	Buffers     []byte   // the packet buffers
	IOVA        dma.IOVA // device address of Buffers
	BufferSize  int      // bytes of a buffer; of packets in attached memory, of all pieces but the last
	Stride      int      // from one buffer to the next, in bytes

	// Attached is the number of buffers without memory, for TxBuffer.Attach; 0: they have
	// that of Buffers.
	Attached int

	// Head is where the device writes the ring's head (4 bytes, 7.2.3.4.2); nil: it
	// writes DD to the descriptors.
	Head []byte

	Tail   pci.Region
	TailAt uint32

	MaxFrame int // longest frame, in bytes without CRC
}

// TxBuffer is a packet buffer that the device reads in place. It keeps what it has from
// one use to the next, so a frame can be prepared once and sent often.
type TxBuffer struct {
	// Data are the bytes of the frame, without CRC. The caller sets its length by slicing
	// it from its begin, up to its capacity. The device pads frames of 17 to 59 bytes with zeros.
	Data []byte

	// Offload is what the device does with the packet; nil: nothing. Of a packet in
	// several buffers, that of the first counts.
	Offload *TxOffload

	// RawCRC sends the last four bytes of Data as the frame's CRC. With a wrong one, no
	// receiver takes the frame for a good one, and it fills the line.
	RawCRC bool

	// Stamp asks for a time stamp (Clock.Sent), of a packet in several buffers in the
	// first.
	Stamp bool

	// More continues the packet in the next buffer.
	More bool

	iova uint64
}

// Attach makes the buffer refer to memory of the caller, such as that of a received frame,
// whose device address is at. The memory keeps its content until the device has read it:
// until Free counts the buffer again.
func (b *TxBuffer) Attach(data []byte, at dma.IOVA) { b.Data, b.iova = data, uint64(at) }

// TxQueue is a transmit queue with a pool of packet buffers, which are used in turn. A
// caller fills free buffers (Free, Buffer) and posts them (Post), or lets Send copy
// frames into them. It is used by one goroutine at a time.
//
//	descriptors     clean              next
//	       free     | posted: sent, or | free
//	                | waiting          |
//	buffers         freed              filled
type TxQueue struct {
	descs []ring.TxDescriptor // written by the host, written back by the device
	size  uint32
	head  *uint32 // written by the device; nil: descriptors are written back

	next  uint32 // index of the next descriptor to fill
	clean uint32 // index of the oldest descriptor the device may still use

	pool     []TxBuffer
	attached bool   // they have no memory of their own
	filled   uint32 // index of the next buffer to post
	free     uint32 // buffers that the device does not use

	// marks are the descriptors with RS, at which the device reports, oldest first: a
	// ring as long as that of the descriptors.
	marks      []txMark
	mark, made uint32
	since      uint32 // descriptors since the last mark
	buffers    uint32 // buffers since the last mark

	contexts [2]TxOffload // of the device's two context slots
	known    [2]bool      // the slot is in use
	victim   uint8        // the slot to fill next

	tail     pci.Region
	tailAt   uint32
	maxFrame int
	refused  uint64

	restart   restart // of the port
	discarded uint64
}

// txMark is a descriptor with RS.
type txMark struct {
	index   uint32 // of the descriptor
	buffers uint32 // that are free once the device has reported it
}

// NewTxQueue returns a transmit queue over memory that the caller owns and keeps
// until the queue is no longer used.
func NewTxQueue(m TxMemory) (*TxQueue, error) {
	size := len(m.Descriptors) / ring.DescriptorSize
	if err := ring.CheckTxSize(size); err != nil {
		return nil, fmt.Errorf("transmit queue: %w", err)
	}
	if m.BufferSize < minFrame || m.Attached == 0 && m.Stride < m.BufferSize {
		return nil, fmt.Errorf("transmit queue: buffers of %d bytes, %d bytes apart: want at least %d bytes that do not overlap", m.BufferSize, m.Stride, minFrame)
	}
	buffers := m.Attached
	if buffers == 0 {
		buffers = len(m.Buffers) / m.Stride
	}
	if buffers < MinTxBuffers {
		return nil, fmt.Errorf("transmit queue: %d bytes hold no %d buffers", len(m.Buffers), MinTxBuffers)
	}
	if m.Tail == nil {
		return nil, errors.New("transmit queue: no tail register")
	}
	q := &TxQueue{
		descs:    ring.TxDescriptors(m.Descriptors)[:size:size],
		size:     uint32(size),
		pool:     make([]TxBuffer, buffers),
		attached: m.Attached > 0,
		free:     uint32(buffers),
		marks:    make([]txMark, size),
		tail:     m.Tail,
		tailAt:   m.TailAt,
		maxFrame: min(m.MaxFrame, (size-1)*m.BufferSize, buffers*m.BufferSize),
	}
	if m.Head != nil {
		q.head = ring.Word(m.Head)
	}
	for i := range q.pool[m.Attached:] {
		at := i * m.Stride
		q.pool[i] = TxBuffer{Data: m.Buffers[at : at : at+m.BufferSize], iova: uint64(m.IOVA) + uint64(at)}
	}
	return q, nil
}

// Buffers returns the number of packet buffers.
func (q *TxQueue) Buffers() int { return len(q.pool) }

// Free returns how many buffers the caller may fill and post.
func (q *TxQueue) Free() int {
	q.reclaim()
	return int(q.free)
}

// Buffer returns the free buffer that is posted after i others, 0 <= i < Free().
func (q *TxQueue) Buffer(i int) *TxBuffer {
	at := int(q.filled) + i
	if at >= len(q.pool) {
		at -= len(q.pool)
	}
	return &q.pool[at]
}

// Post queues the packets in the next n free buffers, in order, and returns how many
// buffers it took: for others the ring has no room, and the caller may post them again
// later. Packets that are empty or too long are taken but dropped (Refused). Post does
// not wait and does not allocate.
func (q *TxQueue) Post(n int) int {
	first, done := q.next, 0
	n = min(n, int(q.free))
	room := ring.Free(q.clean, q.next, q.size)
	for done < n {
		b := &q.pool[q.filled]
		offload, known := ring.TxCommand(0), true
		if b.Offload != nil {
			offload, known = q.knownOffload(b.Offload)
		}
		if len(b.Data) == 0 || len(b.Data) > q.maxFrame || !known || b.More || b.Stamp {
			took := q.postSlow(n - done)
			if took == 0 {
				break
			}
			done += took
			room = ring.Free(q.clean, q.next, q.size)
			continue
		}
		if room == 0 {
			q.reclaim()
			if room = ring.Free(q.clean, q.next, q.size); room == 0 {
				break
			}
		}
		c := ring.TxEOP | ring.TxIFCS
		if b.RawCRC {
			c = ring.TxEOP
		}
		q.descs[q.next].SetData(b.iova, len(b.Data), len(b.Data), c|offload)
		q.advance()
		q.takeBuffer()
		room--
		done++
		if q.since >= reportEvery {
			q.report()
		}
	}
	if q.next != first {
		// All of them can be reclaimed then even if no other frame is sent. The device
		// does not own the descriptor yet.
		q.report()
		// Release R2 of descriptors and buffers, pairs with A2: the device loads the
		// tail before it reads them.
		q.tail.Store32(q.tailAt, q.next)
	}
	return done
}

// advance goes on to the next descriptor.
func (q *TxQueue) advance() {
	if q.next++; q.next == q.size {
		q.next = 0
	}
	q.since++
}

// takeBuffer passes the next buffer to the device.
func (q *TxQueue) takeBuffer() {
	if q.filled++; q.filled == uint32(len(q.pool)) {
		q.filled = 0
	}
	q.free--
	q.buffers++
}

// postSlow queues one packet of at most n buffers, any packet, and returns the number of
// buffers it took. 0: the packet is not complete, or the ring has no room.
func (q *TxQueue) postSlow(n int) int {
	buffers, total := 0, 0
	for more := true; more; buffers++ {
		if buffers == n {
			return 0
		}
		b := q.Buffer(buffers)
		total += len(b.Data)
		more = b.More
	}
	first := q.Buffer(0)
	o := first.Offload
	most := q.maxFrame
	if o != nil && o.MSS > 0 {
		most = maxPacket
	}
	if len(first.Data) == 0 || total > most {
		q.refused++
		for range buffers {
			q.takeBuffer()
		}
		return buffers
	}
	need := uint32(buffers)
	if o != nil {
		need++ // for the context
	}
	if ring.Free(q.clean, q.next, q.size) < need {
		q.reclaim()
		if ring.Free(q.clean, q.next, q.size) < need {
			return 0
		}
	}
	command := ring.TxIFCS
	if first.RawCRC {
		command = 0
	}
	if first.Stamp {
		command |= ring.TxTS
	}
	payload := total
	if o != nil {
		command |= q.context(o)
		if o.MSS > 0 {
			payload -= o.headers()
		}
	}
	for k := range buffers {
		b := &q.pool[q.filled]
		c := command
		if k == buffers-1 {
			c |= ring.TxEOP
		}
		q.descs[q.next].SetData(b.iova, len(b.Data), payload, c)
		q.advance()
		q.takeBuffer()
	}
	if q.since >= reportEvery {
		q.report()
	}
	return buffers
}

// knownOffload returns the commands of an offload whose parameters a context of the device
// holds. false: none does, or the packet is to be cut.
func (q *TxQueue) knownOffload(o *TxOffload) (ring.TxCommand, bool) {
	for i := range q.contexts {
		if q.known[i] && q.contexts[i] == *o && o.MSS == 0 {
			return o.commands() | ring.TxIndex(uint8(i)), true
		}
	}
	return 0, false
}

// context makes a context of the device hold the offload's parameters and returns the
// commands of its data descriptors.
func (q *TxQueue) context(o *TxOffload) ring.TxCommand {
	slot := -1
	for i := range q.contexts {
		if q.known[i] && q.contexts[i] == *o {
			slot = i
		}
	}
	if slot < 0 {
		slot = int(q.victim)
		q.victim ^= 1
		q.contexts[slot], q.known[slot] = *o, true
		q.descs[q.next].SetContext(o.context(uint8(slot)))
		q.advance()
	}
	return o.commands() | ring.TxIndex(uint8(slot))
}

// Send copies frames, without CRC, into free buffers, posts them in order and returns how
// many; for the others there is no room, and the caller may send them again later. Frames
// shorter than 60 bytes are padded with zeros. A frame that is empty or too long is
// counted in the result but dropped (Refused). The caller may reuse its memory at once.
// Send does not wait and does not allocate. It panics if the queue's buffers have no memory.
func (q *TxQueue) Send(frames [][]byte) int {
	free, filled, sent := q.Free(), 0, 0
	size := cap(q.pool[0].Data)
	if q.attached {
		panic("driver: Send through a queue whose buffers have no memory")
	}
	for _, f := range frames {
		if len(f) == 0 || len(f) > q.maxFrame {
			q.refused++
			sent++
			continue
		}
		total := max(len(f), minFrame)
		need := (total + size - 1) / size
		if free-filled < need || int(ring.Free(q.clean, q.next, q.size))-filled < need {
			break
		}
		for at := 0; at < total; at += size {
			b := q.Buffer(filled)
			b.Offload, b.RawCRC, b.Stamp = nil, false, false
			b.More = total-at > size
			b.Data = b.Data[:min(total-at, size)]
			n := copy(b.Data, f[min(at, len(f)):])
			clear(b.Data[n:]) // padding
			filled++
		}
		sent++
	}
	q.Post(filled) // takes all: the ring has room
	return sent
}

// report sets RS in the last descriptor, the last of its packet: the device reports it.
func (q *TxQueue) report() {
	if q.since == 0 {
		return // already marked
	}
	i := ring.Prev(q.next, q.size)
	q.descs[i].Words[1] |= uint64(ring.TxRS)
	q.marks[q.made] = txMark{i, q.buffers}
	q.made = ring.Next(q.made, q.size)
	q.since, q.buffers = 0, 0
}

// reclaim frees the descriptors and buffers that the device has fetched.
func (q *TxQueue) reclaim() {
	if q.restart.state.Load() != restartNone {
		q.serveRestart()
	}
	fetched := uint32(0)
	if q.head != nil {
		// Acquire, as A2: the device has read the buffers before it wrote the head.
		fetched = ring.Distance(q.clean, atomic.LoadUint32(q.head), q.size)
	}
	for q.mark != q.made {
		m := &q.marks[q.mark]
		if q.head == nil {
			if !q.descs[m.index].Done() { // acquire: the device has read the buffers
				return
			}
		} else {
			n := ring.Distance(q.clean, m.index, q.size) + 1
			if n > fetched {
				return
			}
			fetched -= n
		}
		q.clean = ring.Next(m.index, q.size)
		q.free += m.buffers
		q.mark = ring.Next(q.mark, q.size)
	}
}

// Pending returns the number of descriptors that the device has not fetched yet.
func (q *TxQueue) Pending() int {
	q.reclaim()
	return int(ring.Distance(q.clean, q.next, q.size))
}

// Refused returns the number of packets dropped for being empty or too long.
func (q *TxQueue) Refused() uint64 { return q.refused }

// Discarded returns the number of packets in the ring that were not sent because the device
// was reset.
func (q *TxQueue) Discarded() uint64 { return q.discarded }

package driver

import (
	"errors"
	"fmt"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

const (
	txBufferSize = 2048
	// reportEvery is the number of descriptors after which the device writes one back;
	// each write-back costs a bus transaction (7.2.3.4.1).
	reportEvery = 32
)

// TxMemory is the memory of a transmit queue and its tail register.
type TxMemory struct {
	Descriptors []byte   // the ring, 16 bytes a descriptor
	Buffers     []byte   // 2048 bytes for each descriptor
	IOVA        dma.IOVA // device address of Buffers

	Tail   pci.Region
	TailAt uint32

	MaxFrame int // longest frame, in bytes without CRC
}

// TxQueue is a transmit queue. Send copies frames into the queue's buffers, so the
// caller may reuse its memory at once. It is used by one goroutine at a time.
//
//	       clean              next
//	         |                  |
//	free     | posted: sent     | free
//	         | (DD, at marked   |
//	         | ones) or waiting |
type TxQueue struct {
	descs []ring.TxDescriptor // written by the host, written back by the device
	bufs  ring.Buffers        // read by the device
	iova  uint64
	size  uint32

	next  uint32 // index of the next descriptor to fill
	clean uint32 // index of the oldest descriptor the device may still use

	// marks are the descriptors with RS, which the device writes back, oldest first: a
	// ring of indices as long as that of the descriptors.
	marks      []uint32
	mark, made uint32
	since      uint32 // descriptors since the last mark

	tail     pci.Region
	tailAt   uint32
	maxFrame int
	refused  uint64
}

// NewTxQueue returns a transmit queue over memory that the caller owns and keeps
// until the queue is no longer used.
func NewTxQueue(m TxMemory) (*TxQueue, error) {
	size := len(m.Descriptors) / ring.DescriptorSize
	if err := ring.CheckSize(size); err != nil {
		return nil, fmt.Errorf("transmit queue: %w", err)
	}
	if len(m.Buffers) < size*txBufferSize {
		return nil, fmt.Errorf("transmit queue: %d bytes hold no %d buffers", len(m.Buffers), size)
	}
	if m.Tail == nil {
		return nil, errors.New("transmit queue: no tail register")
	}
	return &TxQueue{
		descs:    ring.TxDescriptors(m.Descriptors)[:size:size],
		bufs:     ring.NewBuffers(m.Buffers, size, txBufferSize, txBufferSize),
		iova:     uint64(m.IOVA),
		size:     uint32(size),
		marks:    make([]uint32, size),
		tail:     m.Tail,
		tailAt:   m.TailAt,
		maxFrame: min(m.MaxFrame, (size-1)*txBufferSize),
	}, nil
}

// Send queues frames, without CRC, in order, and returns how many; for the others the
// ring has no room, and the caller may send them again later. Frames shorter than 60
// bytes are padded with zeros. A frame that is empty or too long is counted in the
// result but dropped (Refused). Send does not wait and does not allocate.
func (q *TxQueue) Send(frames [][]byte) int {
	first := q.next
	sent := 0
	for _, f := range frames {
		if len(f) == 0 || len(f) > q.maxFrame {
			q.refused++
			sent++
			continue
		}
		need := uint32(len(f)+txBufferSize-1) / txBufferSize
		if ring.Free(q.clean, q.next, q.size) < need {
			q.reclaim()
			if ring.Free(q.clean, q.next, q.size) < need {
				break
			}
		}
		q.put(f)
		sent++
	}
	if q.next != first {
		// All of them can be reclaimed then even if no other frame is sent. The device
		// does not own the descriptor yet.
		q.report(ring.Prev(q.next, q.size))
		// Release R2 of descriptors and buffers, pairs with A2: the device loads the
		// tail before it reads them.
		q.tail.Store32(q.tailAt, q.next)
	}
	return sent
}

// put copies one frame into the buffers and fills its descriptors. The ring has room.
func (q *TxQueue) put(f []byte) {
	total := max(len(f), minFrame)
	for at := 0; at < total; {
		i := q.next
		b := q.bufs.Slice(i, uint32(min(total-at, txBufferSize)))
		n := copy(b, f[min(at, len(f)):])
		clear(b[n:]) // padding
		at += len(b)
		c := ring.TxIFCS
		if at == total {
			c |= ring.TxEOP
		}
		q.descs[i].SetData(q.iova+uint64(i)*txBufferSize, len(b), total, c)
		q.next = ring.Next(i, q.size)
		q.since++
	}
	if q.since >= reportEvery {
		q.report(ring.Prev(q.next, q.size))
	}
}

// report sets RS in descriptor i, the last of its frame: the device writes it back.
func (q *TxQueue) report(i uint32) {
	if q.since == 0 {
		return // already marked
	}
	q.since = 0
	q.descs[i].Words[1] |= uint64(ring.TxRS)
	q.marks[q.made] = i
	q.made = ring.Next(q.made, q.size)
}

// reclaim frees the descriptors that the device has sent.
func (q *TxQueue) reclaim() {
	for q.mark != q.made {
		i := q.marks[q.mark]
		if !q.descs[i].Done() { // acquire: the device has read the buffers
			return
		}
		q.clean = ring.Next(i, q.size)
		q.mark = ring.Next(q.mark, q.size)
	}
}

// Pending returns the number of descriptors that the device has not sent yet.
func (q *TxQueue) Pending() int {
	q.reclaim()
	return int(ring.Distance(q.clean, q.next, q.size))
}

// Refused returns the number of frames dropped for being empty or too long.
func (q *TxQueue) Refused() uint64 { return q.refused }

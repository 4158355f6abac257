package server

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

var errDisconnected = errors.New("client disconnected")

// host implements Host for a connected client.
type host struct {
	conn    *proto.Conn
	queue   *queue
	timeout time.Duration
	limit   int // bytes in one DMA message

	dma      dmaTable
	files    fileTable
	irqs     irqTable
	unmapped chan unmappedAccess // accesses for sendUnmapped; nil: discarded

	mu      sync.Mutex
	nextID  uint16
	pending map[uint16]chan *proto.Message // closed channels: client disconnected
	closed  bool
}

func newHost(conn *proto.Conn, q *queue, counts []int, limit int, timeout time.Duration) *host {
	return &host{
		conn: conn, queue: q, timeout: timeout, limit: limit,
		irqs: newIRQTable(counts), unmapped: make(chan unmappedAccess, unmappedMax), pending: map[uint16]chan *proto.Message{},
	}
}

// Bytes implements Host.
func (h *host) Bytes(iova uint64, n int, write bool) []byte {
	s := h.dma.find(iova)
	if s == nil || s.mem == nil || !s.allows(write) || n < 0 {
		return nil
	}
	off := iova - s.first
	if uint64(n) > s.size-off {
		return nil
	}
	return s.mem[off : off+uint64(n) : off+uint64(n)]
}

// Raise implements Host.
func (h *host) Raise(irq, vector int) { h.irqs.raise(irq, vector) }

// ReadDMA implements Host.
func (h *host) ReadDMA(iova uint64, p []byte) error { return h.copy(iova, p, false) }

// WriteDMA implements Host.
func (h *host) WriteDMA(iova uint64, p []byte) error { return h.copy(iova, p, true) }

// copy copies p from or to the client's memory, range by range.
func (h *host) copy(iova uint64, p []byte, write bool) error {
	for len(p) > 0 {
		s := h.dma.find(iova)
		if s == nil {
			h.queueUnmapped(iova, p, write)
			return fmt.Errorf("dma at %#x: not mapped: %w", iova, syscall.EFAULT)
		}
		if !s.allows(write) {
			h.queueUnmapped(iova, p, write)
			return fmt.Errorf("dma at %#x: mapping does not allow it: %w", iova, syscall.EACCES)
		}
		off := iova - s.first
		n := int(min(uint64(len(p)), s.size-off))
		var err error
		switch {
		case s.mem == nil:
			n = min(n, h.limit)
			err = h.message(iova, p[:n], write)
		case write:
			err = Recover(func() error { copy(s.mem[off:], p[:n]); return nil })
		default:
			err = Recover(func() error { copy(p[:n], s.mem[off:]); return nil })
		}
		if err != nil {
			return err
		}
		p, iova = p[n:], iova+uint64(n)
	}
	return nil
}

// message copies p by one DMA_READ or DMA_WRITE.
func (h *host) message(iova uint64, p []byte, write bool) error {
	request := proto.DMAAccess{Address: iova, Count: uint64(len(p))}
	body := request.Append(make([]byte, 0, proto.DMAAccessSize))
	command, data := proto.DMARead, []byte(nil)
	if write {
		command, data = proto.DMAWrite, p
	}
	m, err := h.request(command, body, data)
	if err != nil {
		return fmt.Errorf("%v of %d bytes at %#x: %w", command, len(p), iova, err)
	}
	defer h.queue.recycle(m)
	if err := checkDMAReply(m, request, p, write); err != nil {
		return fmt.Errorf("%v of %d bytes at %#x: %w", command, len(p), iova, err)
	}
	return nil
}

func checkDMAReply(m *proto.Message, request proto.DMAAccess, p []byte, write bool) error {
	if err := m.Err(); err != nil {
		return err
	}
	if write {
		reply, err := proto.ParseDMAWriteReply(m.Body)
		if err == nil && reply != request {
			err = fmt.Errorf("client answers %d bytes at %#x: %w", reply.Count, reply.Address, syscall.EPROTO)
		}
		return err
	}
	reply, data, err := proto.ParseDMAAccess(m.Body)
	if err != nil {
		return err
	}
	if reply != request {
		return fmt.Errorf("client answers %d bytes at %#x: %w", reply.Count, reply.Address, syscall.EPROTO)
	}
	if err := reply.HasData(data); err != nil {
		return err
	}
	copy(p, data)
	return nil
}

// request sends a request to the client and waits for its reply.
func (h *host) request(command proto.Command, body, data []byte) (*proto.Message, error) {
	reply := make(chan *proto.Message, 1)
	id, err := h.register(reply)
	if err != nil {
		return nil, err
	}
	h.queue.addPending(+1)
	defer h.queue.addPending(-1)
	if err := h.conn.Send(proto.Header{ID: id, Command: command}, nil, body, data); err != nil {
		h.abort() // part of a message may be sent: the stream is unusable
		return nil, err
	}
	timer := time.NewTimer(h.timeout)
	defer timer.Stop()
	select {
	case m, ok := <-reply:
		if !ok {
			return nil, errDisconnected
		}
		if m.Command != command {
			h.queue.recycle(m)
			return nil, fmt.Errorf("client answers %v: %w", m.Command, syscall.EPROTO)
		}
		return m, nil
	case <-timer.C:
		// A late reply must not match another request of the same ID, and a device
		// cannot work with a client that does not answer.
		h.abort()
		return nil, fmt.Errorf("no reply within %v: %w", h.timeout, syscall.ETIMEDOUT)
	}
}

// register assigns an ID to a request whose reply goes to the channel.
func (h *host) register(reply chan *proto.Message) (uint16, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, errDisconnected
	}
	for {
		h.nextID++
		if _, taken := h.pending[h.nextID]; !taken {
			h.pending[h.nextID] = reply
			return h.nextID, nil
		}
	}
}

// deliver passes a reply to the thread that waits for it. It returns false if none
// does.
func (h *host) deliver(m *proto.Message) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	reply, ok := h.pending[m.ID]
	if ok {
		delete(h.pending, m.ID)
		reply <- m // never blocks: capacity 1, one reply
	}
	return ok
}

// abort closes the connection and ends all waits for the client.
func (h *host) abort() {
	_ = h.conn.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for id, reply := range h.pending {
		delete(h.pending, id)
		close(reply)
	}
}

// release releases the client's memory and interrupts. The device has been
// detached.
func (h *host) release() {
	h.dma.remove(place{}, h.dma.count)
	h.irqs.close()
}

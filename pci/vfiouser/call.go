package vfiouser

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// subject says what a request is about. It becomes text only in errors.
type subject struct {
	command proto.Command
	what    string // of the index: region, interrupt kind, address; empty: nothing more
	index   uint64
	off     uint64 // with n: bytes off to off+n of it
	n       int
}

func (s subject) String() string {
	switch {
	case s.what == "":
		return s.command.String()
	case s.n == 0:
		return fmt.Sprintf("%v (%s %#x)", s.command, s.what, s.index)
	}
	return fmt.Sprintf("%v (%s %#x, offset %#x, %d bytes)", s.command, s.what, s.index, s.off, s.n)
}

func (s subject) wrap(err error) error { return fmt.Errorf("%v: %w", s, err) }

// call is a request that waits for its reply.
type call struct {
	command proto.Command
	done    chan struct{} // one element when reply or err is there
	reply   *proto.Message
	err     error
	timer   *time.Timer
}

// calls are the requests under way.
type calls struct {
	mu      sync.Mutex
	nextID  uint16
	pending map[uint16]*call
	down    error // set: no more requests

	idle     sync.Pool // *call
	messages sync.Pool // *proto.Message
}

// maxPending bounds the requests under way; the rest of the 16-bit IDs keeps
// the search for a free one short.
const maxPending = 1 << 15

// call sends a request and waits for its reply, which the caller recycles. The
// error of a reply is returned as an error. Any goroutine may call.
func (d *Device) call(s subject, fds []int, parts ...[]byte) (*proto.Message, error) {
	c, _ := d.calls.idle.Get().(*call)
	if c == nil {
		c = &call{done: make(chan struct{}, 1), timer: time.NewTimer(d.timeout)}
	} else {
		c.timer.Reset(d.timeout)
	}
	c.command = s.command
	id, err := d.calls.enter(c)
	if err != nil {
		return nil, s.wrap(err)
	}
	if err := d.conn.Send(proto.Header{ID: id, Command: s.command}, fds, parts...); err != nil {
		d.fail(s.wrap(d.sendError(err)))
	}
	select {
	case <-c.done:
	case <-c.timer.C:
		d.fail(s.wrap(fmt.Errorf("no reply within %v: %w", d.timeout, syscall.ETIMEDOUT)))
		<-c.done // by fail, if not by a reply that came at the last moment
	}
	c.timer.Stop()
	reply, err := c.reply, c.err
	c.reply, c.err = nil, nil
	d.calls.idle.Put(c)
	if err != nil {
		return nil, err
	}
	if err := reply.Err(); err != nil {
		d.recycle(reply)
		return nil, s.wrap(err)
	}
	return reply, nil
}

// sendError makes a broken pipe what it is.
func (d *Device) sendError(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the server has closed the connection: %w", err)
	}
	return err
}

func (cs *calls) enter(c *call) (uint16, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.down != nil {
		return 0, cs.down
	}
	if len(cs.pending) >= maxPending {
		return 0, fmt.Errorf("%d requests are under way already", len(cs.pending))
	}
	for {
		cs.nextID++
		if _, taken := cs.pending[cs.nextID]; !taken {
			cs.pending[cs.nextID] = c
			return cs.nextID, nil
		}
	}
}

// complete gives a reply to its request.
func (cs *calls) complete(m *proto.Message) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.pending[m.ID]
	if !ok {
		return fmt.Errorf("server answers message %d (%v), which waits for no answer", m.ID, m.Command)
	}
	// Some servers leave the command of a reply empty.
	if m.Command != c.command && m.Command != 0 {
		return fmt.Errorf("server answers %v with %v", c.command, m.Command)
	}
	delete(cs.pending, m.ID)
	c.reply = m
	c.done <- struct{}{}
	return nil
}

// fail takes the device down, the first time, for the given reason, and ends
// all waiting.
func (d *Device) fail(reason error) {
	cs := &d.calls
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.down != nil {
		return
	}
	cs.down = reason
	// Before Done: who was woken by Done must not load from the device.
	d.gone.Store(true)
	close(d.done)
	_ = d.conn.Close()
	for id, c := range cs.pending {
		delete(cs.pending, id)
		c.err = reason
		c.done <- struct{}{}
	}
}

func (d *Device) message() *proto.Message {
	if m, ok := d.calls.messages.Get().(*proto.Message); ok {
		return m
	}
	return new(proto.Message)
}

// recycle closes the descriptors nobody took out of m and keeps its memory.
func (d *Device) recycle(m *proto.Message) {
	m.Release()
	d.calls.messages.Put(m)
}

// receive reads what the server sends until the connection ends.
func (d *Device) receive() {
	defer close(d.received)
	for {
		m := d.message()
		if err := d.conn.Receive(m); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				err = fmt.Errorf("the server has closed the connection: %w", err)
			}
			d.fail(err)
			return
		}
		if m.IsReply() {
			if err := d.calls.complete(m); err != nil {
				d.recycle(m)
				d.fail(err)
				return
			}
			continue
		}
		err := d.answer(m)
		d.recycle(m)
		if err != nil {
			d.fail(fmt.Errorf("answer the server: %w", d.sendError(err)))
			return
		}
	}
}

// answer serves the server's own requests: DMA into memory that is mapped for
// it. The error is that of sending.
func (d *Device) answer(m *proto.Message) error {
	switch {
	case m.Flags&proto.TypeMask != proto.TypeCommand:
		return d.conn.Reply(m, syscall.EINVAL, nil)
	case m.FDs() > 0:
		return d.conn.Reply(m, syscall.EINVAL, nil)
	case m.Command == proto.DMARead, m.Command == proto.DMAWrite:
		return d.dma.answer(m)
	}
	return d.conn.Reply(m, syscall.ENOTSUP, nil)
}

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

// request describes a request, for errors.
type request struct {
	command proto.Command
	what    string // what index is: region, interrupt kind, address; "": no index
	index   uint64
	off     uint64 // with n: bytes off to off+n
	n       int
}

func (s request) String() string {
	switch {
	case s.what == "":
		return s.command.String()
	case s.n == 0:
		return fmt.Sprintf("%v (%s %#x)", s.command, s.what, s.index)
	}
	return fmt.Sprintf("%v (%s %#x, offset %#x, %d bytes)", s.command, s.what, s.index, s.off, s.n)
}

func (s request) wrap(err error) error { return fmt.Errorf("%v: %w", s, err) }

// call is a request without a reply yet.
type call struct {
	command proto.Command
	done    chan struct{} // receives when reply or err is set
	reply   *proto.Message
	err     error
	timer   *time.Timer
}

// calls are the requests without a reply yet.
type calls struct {
	mu      sync.Mutex
	nextID  uint16
	pending map[uint16]*call
	down    error // not nil: no more requests

	idle     sync.Pool // *call
	messages sync.Pool // *proto.Message
}

// maxPending is the most requests at a time. Half of the 16-bit IDs stay free, which
// keeps the search for a free one short.
const maxPending = 1 << 15

// call sends a request and returns its reply, which the caller recycles. An error reply
// is returned as an error. call may be used by any goroutine.
func (d *Device) call(s request, fds []int, parts ...[]byte) (*proto.Message, error) {
	c, _ := d.calls.idle.Get().(*call)
	if c == nil {
		c = &call{done: make(chan struct{}, 1), timer: time.NewTimer(d.timeout)}
	} else {
		c.timer.Reset(d.timeout)
	}
	c.command = s.command
	id, err := d.calls.add(c)
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
		<-c.done // from fail, or from a reply at the last moment
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

// sendError explains a broken pipe.
func (d *Device) sendError(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("the server closed the connection: %w", err)
	}
	return err
}

// add assigns an ID to a request.
func (cs *calls) add(c *call) (uint16, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.down != nil {
		return 0, cs.down
	}
	if len(cs.pending) >= maxPending {
		return 0, fmt.Errorf("%d requests without a reply", len(cs.pending))
	}
	for {
		cs.nextID++
		if _, taken := cs.pending[cs.nextID]; !taken {
			cs.pending[cs.nextID] = c
			return cs.nextID, nil
		}
	}
}

// complete assigns a reply to its request.
func (cs *calls) complete(m *proto.Message) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c, ok := cs.pending[m.ID]
	if !ok {
		return fmt.Errorf("reply to message %d (%v), which was not requested", m.ID, m.Command)
	}
	// Some servers send replies with command 0.
	if m.Command != c.command && m.Command != 0 {
		return fmt.Errorf("reply to %v with command %v", c.command, m.Command)
	}
	delete(cs.pending, m.ID)
	c.reply = m
	c.done <- struct{}{}
	return nil
}

// fail marks the device as lost and ends all calls, if it is the first call.
func (d *Device) fail(reason error) {
	cs := &d.calls
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.down != nil {
		return
	}
	cs.down = reason
	// Before Done: a goroutine woken by Done must not load from the device.
	d.lost.Store(true)
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

// recycle closes the descriptors that m still owns and keeps m for later messages.
func (d *Device) recycle(m *proto.Message) {
	m.Release()
	d.calls.messages.Put(m)
}

// receive reads messages until the connection ends.
func (d *Device) receive() {
	defer close(d.received)
	for {
		m := d.message()
		if err := d.conn.Receive(m); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
				err = fmt.Errorf("the server closed the connection: %w", err)
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
		err := d.serve(m)
		d.recycle(m)
		if err != nil {
			d.fail(fmt.Errorf("reply to the server: %w", d.sendError(err)))
			return
		}
	}
}

// serve replies to a request of the server: DMA to or from mapped memory. The error is
// that of sending the reply.
func (d *Device) serve(m *proto.Message) error {
	switch {
	case m.Flags&proto.TypeMask != proto.TypeCommand:
		return d.conn.Reply(m, syscall.EINVAL, nil)
	case m.FDs() > 0:
		return d.conn.Reply(m, syscall.EINVAL, nil)
	case m.Command == proto.DMARead, m.Command == proto.DMAWrite:
		return d.dma.serve(m)
	}
	return d.conn.Reply(m, syscall.ENOTSUP, nil)
}

package proto

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// firstRead bounds what a message's announced size alone makes Receive
// allocate; the buffer grows as bytes arrive.
const firstRead = 64 << 10

// A FrameError is a message whose end cannot be found: its size is impossible,
// or it carries more descriptors than MaxFDs. The header is known, so that the
// peer can be told before the connection is dropped.
type FrameError struct {
	Header Header
	what   string
}

func (e *FrameError) Error() string { return e.what }

// Unwrap gives the error number a peer is told.
func (e *FrameError) Unwrap() error { return syscall.EINVAL }

// Message is a received message. Whoever holds it owns its descriptors.
type Message struct {
	Header
	Body []byte
	fds  []int
	lost bool // more descriptors came than there is room for
}

// FDs is how many descriptors the message still owns.
func (m *Message) FDs() int { return len(m.fds) }

// FD is descriptor i, which stays the message's.
func (m *Message) FD(i int) int { return m.fds[i] }

// TakeFD gives descriptor i to the caller, who closes it.
func (m *Message) TakeFD(i int) int {
	fd := m.fds[i]
	m.fds[i] = -1
	return fd
}

// TakeFDs gives all descriptors to the caller.
func (m *Message) TakeFDs() []int {
	fds := slices.Clone(m.fds)
	m.fds = m.fds[:0]
	return fds
}

// Release closes the descriptors nobody took. It may be called twice.
func (m *Message) Release() {
	for _, fd := range m.fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	m.fds = m.fds[:0]
}

// Conn carries whole messages over a UNIX stream socket. Receive is for one
// goroutine, Send for any.
type Conn struct {
	uc      *net.UnixConn
	timeout time.Duration

	header [HeaderSize]byte // Receive's
	oob    []byte           // Receive's

	mu  sync.Mutex // one Send at a time
	out []byte
}

// NewConn takes the socket over. A Send that the peer does not read within
// timeout fails.
func NewConn(uc *net.UnixConn, timeout time.Duration) *Conn {
	return &Conn{uc: uc, timeout: timeout, oob: make([]byte, unix.CmsgSpace(MaxFDs*4))}
}

// SetReadDeadline bounds Receive; the zero time lifts the bound.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.uc.SetReadDeadline(t) }

// Close ends the connection; a Receive under way returns.
func (c *Conn) Close() error { return c.uc.Close() }

// Receive waits for the next message and puts it into m, whose earlier content
// is released and whose memory is used again. io.EOF is the peer's orderly end
// between two messages; a *FrameError a message that cannot be received whole.
// After an error m owns nothing.
//
// Header and body are read on their own, never a byte beyond: descriptors that
// arrive with a read are then those of the message being read, however the
// stream was cut or joined on its way.
func (c *Conn) Receive(m *Message) (err error) {
	m.Release()
	m.Body, m.lost = m.Body[:0], false
	defer func() {
		if err != nil {
			m.Release()
		}
	}()
	if err := c.fill(m, c.header[:]); err != nil {
		return err
	}
	m.Header, _ = ParseHeader(c.header[:]) // 16 bytes are there
	if m.Size < HeaderSize || m.Size > MaxMessage {
		return &FrameError{m.Header, fmt.Sprintf("%v: message of %d bytes, want %d to %d", m.Command, m.Size, HeaderSize, MaxMessage)}
	}
	for left := int(m.Size) - HeaderSize; left > 0 && !m.lost; {
		n := len(m.Body)
		part := min(left, max(firstRead, n))
		m.Body = slices.Grow(m.Body, part)[:n+part]
		if err := c.fill(m, m.Body[n:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		left -= part
	}
	if m.lost {
		return &FrameError{m.Header, fmt.Sprintf("%v: message carries more than %d descriptors", m.Command, MaxFDs)}
	}
	return nil
}

// fill reads exactly len(b) bytes and collects the descriptors beside them.
// io.EOF means that nothing at all came.
func (c *Conn) fill(m *Message, b []byte) error {
	for n := 0; n < len(b); {
		// ReadMsgUnix asks for MSG_CMSG_CLOEXEC.
		got, oobn, flags, _, err := c.uc.ReadMsgUnix(b[n:], c.oob)
		if errors.Is(err, io.EOF) {
			err = nil // got is 0; the package net would name both ends
		}
		if oobn > 0 {
			err = errors.Join(err, m.collect(c.oob[:oobn]))
		}
		if flags&unix.MSG_CTRUNC != 0 || len(m.fds) > MaxFDs {
			m.lost = true // the kernel has closed those that found no room
		}
		switch {
		case err != nil:
			return err
		case got == 0 && n == 0:
			return io.EOF
		case got == 0:
			return io.ErrUnexpectedEOF
		}
		n += got
	}
	return nil
}

// collect takes the descriptors of control messages into m, so that they are
// closed whatever happens next.
func (m *Message) collect(oob []byte) error {
	controls, err := unix.ParseSocketControlMessage(oob)
	for i := range controls {
		if h := controls[i].Header; h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, e := unix.ParseUnixRights(&controls[i])
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		m.fds = append(m.fds, fds...)
	}
	return err
}

// Send sends a message with the given descriptors beside its first byte. The
// body is the concatenation of parts; h.Size is filled in. The caller keeps the
// descriptors. After an error part of the message may be on its way: the
// connection is of no further use.
func (c *Conn) Send(h Header, fds []int, parts ...[]byte) error {
	size := HeaderSize
	for _, p := range parts {
		size += len(p)
	}
	if size > MaxMessage || len(fds) > MaxFDs {
		return fmt.Errorf("send %v: %d bytes and %d descriptors, at most %d and %d fit", h.Command, size, len(fds), MaxMessage, MaxFDs)
	}
	h.Size = uint32(size)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = h.Append(c.out[:0])
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
	if c.timeout > 0 {
		if err := c.uc.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return err
		}
	}
	if len(fds) == 0 {
		_, err := c.uc.Write(c.out)
		return err
	}
	n, _, err := c.uc.WriteMsgUnix(c.out, unix.UnixRights(fds...), nil)
	if err != nil || n == len(c.out) {
		return err
	}
	// A stream socket may take a part; the descriptors went with its first byte.
	_, err = c.uc.Write(c.out[n:])
	return err
}

// Reply answers request m. err, when not nil, is sent as the error number it
// wraps, EINVAL when it wraps none, without a body. A request that wants no
// reply gets none.
func (c *Conn) Reply(m *Message, err error, fds []int, parts ...[]byte) error {
	return c.ReplyTo(m.Header, err, fds, parts...)
}

// ReplyTo is Reply for a request of which only the header is left.
func (c *Conn) ReplyTo(request Header, err error, fds []int, parts ...[]byte) error {
	if request.Flags&NoReply != 0 {
		return nil
	}
	h := Header{ID: request.ID, Command: request.Command, Flags: TypeReply}
	if err != nil {
		h.Flags |= ErrorFlag
		h.Errno = uint32(Errno(err))
		fds, parts = nil, nil
	}
	return c.Send(h, fds, parts...)
}

// Errno is the error number that err wraps, EINVAL when it wraps none.
func Errno(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) && e != 0 {
		return e
	}
	return syscall.EINVAL
}

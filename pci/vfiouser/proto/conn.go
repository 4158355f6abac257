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

// firstRead is the most bytes that Receive allocates for the announced size of a message;
// the buffer grows as bytes arrive.
const firstRead = 64 << 10

// A FrameError is a message with an invalid size or with more than MaxFDs descriptors, so
// that the next message cannot be found. The header is valid, for an error reply before
// the connection is closed.
type FrameError struct {
	Header Header
	what   string
}

func (e *FrameError) Error() string { return e.what }

// Unwrap returns the error number for the reply.
func (e *FrameError) Unwrap() error { return syscall.EINVAL }

// Message is a received message. It owns its descriptors.
type Message struct {
	Header
	Body []byte
	fds  []int
	lost bool // some descriptors did not fit
}

// FDs returns the number of descriptors of the message.
func (m *Message) FDs() int { return len(m.fds) }

// FD returns descriptor i, which the message owns.
func (m *Message) FD(i int) int { return m.fds[i] }

// TakeFD returns descriptor i; the caller owns it.
func (m *Message) TakeFD(i int) int {
	fd := m.fds[i]
	m.fds[i] = -1
	return fd
}

// TakeFDs returns all descriptors; the caller owns them.
func (m *Message) TakeFDs() []int {
	fds := slices.Clone(m.fds)
	m.fds = m.fds[:0]
	return fds
}

// Release closes the descriptors that the message owns. It may be called twice.
func (m *Message) Release() {
	for _, fd := range m.fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	m.fds = m.fds[:0]
}

// Conn sends and receives messages over a UNIX stream socket. Only one goroutine may call
// Receive; any may call Send.
type Conn struct {
	uc      *net.UnixConn
	timeout time.Duration

	header [HeaderSize]byte // Receive's
	oob    []byte           // Receive's

	mu  sync.Mutex // one Send at a time
	out []byte
}

// NewConn returns a connection that owns the socket. Send fails if the peer does not read
// within timeout.
func NewConn(uc *net.UnixConn, timeout time.Duration) *Conn {
	return &Conn{uc: uc, timeout: timeout, oob: make([]byte, unix.CmsgSpace(MaxFDs*4))}
}

// SetReadDeadline sets the deadline of Receive; the zero time means none.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.uc.SetReadDeadline(t) }

// Close closes the connection; a blocked Receive returns.
func (c *Conn) Close() error { return c.uc.Close() }

// Receive reads the next message into m. It releases the earlier content of m and reuses
// its memory. The error is io.EOF if the peer closed the connection between two messages,
// and a *FrameError for a message that cannot be received. After an error m owns no
// descriptors.
//
// Receive never reads beyond the message, so descriptors that arrive with a read belong
// to this message, independent of how the stream is segmented.
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
	m.Header, _ = ParseHeader(c.header[:]) // 16 bytes were read
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

// fill reads exactly len(b) bytes and collects their descriptors. The error is io.EOF if
// the stream ends before the first byte.
func (c *Conn) fill(m *Message, b []byte) error {
	for n := 0; n < len(b); {
		// ReadMsgUnix sets MSG_CMSG_CLOEXEC.
		got, oobn, flags, _, err := c.uc.ReadMsgUnix(b[n:], c.oob)
		if errors.Is(err, io.EOF) {
			err = nil // got is 0; the error of package net would name both ends
		}
		if oobn > 0 {
			err = errors.Join(err, m.collect(c.oob[:oobn]))
		}
		if flags&unix.MSG_CTRUNC != 0 || len(m.fds) > MaxFDs {
			m.lost = true // the kernel closed those that did not fit
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

// collect adds the descriptors of control messages to m, which closes them in any case.
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

// Send sends a message with descriptors. The body is the concatenation of parts; Send
// sets h.Size. The caller owns the descriptors. After an error the connection cannot be
// used, because a part of the message may have been sent.
func (c *Conn) Send(h Header, fds []int, parts ...[]byte) error {
	size := HeaderSize
	for _, p := range parts {
		size += len(p)
	}
	if size > MaxMessage || len(fds) > MaxFDs {
		return fmt.Errorf("send %v: %d bytes and %d descriptors: want at most %d and %d", h.Command, size, len(fds), MaxMessage, MaxFDs)
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
	// A stream socket may accept a part; the descriptors are sent with its first byte.
	_, err = c.uc.Write(c.out[n:])
	return err
}

// Reply replies to request m, unless the request has the flag NoReply. An error that is
// not nil is sent as its error number, see Errno, without a body.
func (c *Conn) Reply(m *Message, err error, fds []int, parts ...[]byte) error {
	return c.ReplyTo(m.Header, err, fds, parts...)
}

// ReplyTo is Reply for the header of a request.
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

// Errno returns the error number that err wraps, EINVAL if there is none.
func Errno(err error) syscall.Errno {
	var e syscall.Errno
	if errors.As(err, &e) && e != 0 {
		return e
	}
	return syscall.EINVAL
}

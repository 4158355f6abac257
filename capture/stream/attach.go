package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attachWithin is how long a capture may take to answer.
const attachWithin = 10 * time.Second

// Attach listens to a stream of another process, or of this one, that is shared
// at a socket (Stream.Serve). The connection stays open as long as the listener;
// when the process ends, however it ends, the stream lets the listener go.
//
// Reading gives ErrAbandoned once the capture's process is gone and what it had
// published is read.
func Attach(path, name string, o Options) (*Listener, error) {
	fail := func(err error) (*Listener, error) {
		return nil, fmt.Errorf("attach to %s: %w", path, err)
	}
	// The capture would say the same, but a name might not even fit a message.
	if err := (&request{name: name, options: o}).check(); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), attachWithin)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", path)
	for errors.Is(err, syscall.EAGAIN) && ctx.Err() == nil {
		// Many connect at once, and the socket's queue is full.
		time.Sleep(time.Millisecond)
		c, err = (&net.Dialer{}).DialContext(ctx, "unixpacket", path)
	}
	if err != nil {
		return fail(explainDial(err))
	}
	t := &remote{conn: c.(*net.UnixConn)}
	l, err := t.attach(name, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to %s: %w", path, err), c.Close())
	}
	go t.watch()
	return l, nil
}

// explainDial adds what to do about a socket that cannot be connected to.
func explainDial(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no capture shares a stream there", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: the capture that shared a stream there is gone", err)
	case errors.Is(err, syscall.EPROTOTYPE):
		return fmt.Errorf("%w: the socket is no stream's", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the socket's mode says who may attach", err)
	}
	return err
}

// remote ties a listener to a stream of another process: by a connection, which
// each side closes when it is done with the other.
type remote struct {
	conn   *net.UnixConn
	reason atomic.Pointer[string] // of a farewell
	gone   atomic.Bool            // the connection is closed
	done   chan struct{}          // watch has ended
}

// attach asks, and maps what it is granted.
func (t *remote) attach(name string, o Options) (*Listener, error) {
	t.done = make(chan struct{})
	if err := t.conn.SetDeadline(time.Now().Add(attachWithin)); err != nil {
		return nil, err
	}
	if _, err := t.conn.Write(encodeRequest(name, o)); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	a, fds, err := receiveAnswer(t.conn)
	defer closeAll(fds)
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	switch {
	case a.state == refused:
		return nil, fmt.Errorf("refused: %s", a.text)
	case a.state != granted:
		return nil, fmt.Errorf("read the answer: unknown state %d", a.state)
	case len(fds) != 3:
		return nil, fmt.Errorf("read the answer: %d descriptors instead of 3", len(fds))
	}
	if err := t.conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return open(grant{
		name: name, options: o, id: a.id, number: int(a.number), searching: a.searching,
		data:    shared{fds[0], a.dataBytes, uint64(a.dataPage)},
		control: shared{fds[1], a.ctrlBytes, uint64(a.controlPage)},
		cursor:  shared{fds[2], pageBytes, pageBytes},
	}, t)
}

// watch waits for the connection's end, and notes why.
func (t *remote) watch() {
	defer close(t.done)
	for {
		a, fds, err := receiveAnswer(t.conn)
		closeAll(fds)
		if err != nil {
			t.gone.Store(true)
			return
		}
		if a.state == farewell {
			t.reason.Store(&a.text)
		}
	}
}

func (t *remote) leave(st ListenerStats) ListenerStats {
	st.DetachReason = whyClosed
	if why := t.reason.Load(); why != nil {
		st.DetachReason = *why
	}
	// The peer may be gone: then nobody needs to be told.
	_ = sendNow(t.conn, bye(), nil)
	_ = t.conn.Close()
	<-t.done
	return st
}

func (t *remote) why() string {
	// The slot is emptied first and the farewell sent then.
	select {
	case <-t.done:
	case <-time.After(farewellWithin):
	}
	if why := t.reason.Load(); why != nil {
		return *why
	}
	return ""
}

// farewellWithin is how long a detached listener waits to be told why.
const farewellWithin = time.Second

func (t *remote) lost() bool { return t.gone.Load() }

// receiveAnswer reads one message and the descriptors beside it, which are the
// caller's to close even with an error.
func receiveAnswer(c *net.UnixConn) (a answer, fds []int, err error) {
	b := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(8*4))
	n, m, flags, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return a, nil, err
	}
	// Go asks for MSG_CMSG_CLOEXEC.
	controls, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		return a, nil, err
	}
	for i := range controls {
		if h := controls[i].Header; h.Level == unix.SOL_SOCKET && h.Type == unix.SCM_RIGHTS {
			some, e := unix.ParseUnixRights(&controls[i])
			fds, err = append(fds, some...), errors.Join(err, e)
		}
	}
	switch {
	case err != nil:
		return a, fds, err
	case n == 0:
		return a, fds, errors.New("connection closed")
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return a, fds, errors.New("message too long")
	}
	a, err = decodeAnswer(b[:n])
	return a, fds, err
}

// sendNow sends a message without ever waiting.
func sendNow(c *net.UnixConn, b []byte, fds []int) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = unix.Sendmsg(int(fd), b, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	return errors.Join(err, sent)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // received a moment ago
	}
}

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

// attachTimeout limits connecting and the answer of the capture.
const attachTimeout = 10 * time.Second

// Attach attaches a listener to a stream that any process, also this one, serves
// at a socket (Stream.Serve). The connection stays open as long as the listener.
// When the process ends, for any reason, the stream detaches the listener.
//
// Once the capture's process has ended and all that it had published is read,
// reading returns ErrAbandoned.
func Attach(path, name string, o Options) (*Listener, error) {
	fail := func(err error) (*Listener, error) {
		return nil, fmt.Errorf("attach to %s: %w", path, err)
	}
	// The capture checks it, too, but a long name may not fit a message.
	if err := (&request{name: name, options: o}).check(); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), attachTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", path)
	for errors.Is(err, syscall.EAGAIN) && ctx.Err() == nil {
		// The socket's queue is full.
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

// explainDial adds the likely cause and the remedy to an error of connecting.
func explainDial(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no capture serves a stream there. Start it or check the path", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: the capture that served a stream there has ended. Start it again", err)
	case errors.Is(err, syscall.EPROTOTYPE):
		return fmt.Errorf("%w: the socket serves no stream. Check the path", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the socket's mode does not allow it. Change the mode or the user", err)
	}
	return err
}

// remote links a listener to a stream of another process by a connection. Either
// side closes it to detach.
type remote struct {
	conn         *net.UnixConn
	detachReason atomic.Pointer[string] // the stream's, once it has sent one
	gone         atomic.Bool            // the connection is closed
	done         chan struct{}          // watch has ended
}

// attach sends a request and maps the memories that the stream grants.
func (t *remote) attach(name string, o Options) (*Listener, error) {
	t.done = make(chan struct{})
	if err := t.conn.SetDeadline(time.Now().Add(attachTimeout)); err != nil {
		return nil, err
	}
	if _, err := t.conn.Write(encodeRequest(name, o)); err != nil {
		return nil, fmt.Errorf("send the request: %w", err)
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
		name: name, options: o, id: a.id, slot: int(a.slot), searching: a.searching, group: a.group, member: a.member,
		data:    shared{fds[0], a.dataBytes, uint64(a.dataPage)},
		control: shared{fds[1], a.ctrlBytes, uint64(a.controlPage)},
		cursor:  shared{fds[2], pageBytes, pageBytes},
	}, t)
}

// watch waits for the end of the connection and stores the reason.
func (t *remote) watch() {
	defer close(t.done)
	for {
		a, fds, err := receiveAnswer(t.conn)
		closeAll(fds)
		if err != nil {
			t.gone.Store(true)
			return
		}
		if a.state == detached {
			t.detachReason.Store(&a.text)
		}
	}
}

func (t *remote) detach(st ListenerStats) ListenerStats {
	st.DetachReason = reasonClosed
	if reason := t.detachReason.Load(); reason != nil {
		st.DetachReason = *reason
	}
	// An error means that the capture has closed the connection.
	_ = sendNow(t.conn, goodbye(), nil)
	_ = t.conn.Close()
	<-t.done
	return st
}

func (t *remote) reason() string {
	// The stream clears the slot first and then sends the reason.
	select {
	case <-t.done:
	case <-time.After(reasonTimeout):
	}
	if reason := t.detachReason.Load(); reason != nil {
		return *reason
	}
	return ""
}

// reasonTimeout limits the wait of a detached listener for the reason.
const reasonTimeout = time.Second

func (t *remote) producerGone() bool { return t.gone.Load() }

// receiveAnswer reads one message and the descriptors that come with it. The caller
// closes the descriptors, also after an error.
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

// sendNow sends a message and descriptors; it never blocks.
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
		_ = unix.Close(fd)
	}
}

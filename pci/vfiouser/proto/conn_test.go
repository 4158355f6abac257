package proto

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func sockets(t testing.TB) (*net.UnixConn, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	require.NoError(t, err)
	var out [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		out[i] = c.(*net.UnixConn)
	}
	return out[0], out[1]
}

func openFDs(t testing.TB) int {
	t.Helper()
	e, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(e)
}

func eventfds(t testing.TB, n int) []int {
	t.Helper()
	fds := make([]int, n)
	for i := range fds {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		require.NoError(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		fds[i] = fd
	}
	return fds
}

func TestMessagesAreReceivedFromAnySegments(t *testing.T) {
	near, far := sockets(t)
	var stream []byte
	var want []Header
	bodies := [][]byte{nil, []byte("a"), bytes.Repeat([]byte("bc"), 100), {}, bytes.Repeat([]byte{7}, 5000)}
	for i, b := range bodies {
		h := Header{ID: uint16(i), Command: RegionWrite, Size: uint32(HeaderSize + len(b))}
		want = append(want, h)
		stream = append(h.Append(stream), b...)
	}
	for _, piece := range []int{1, 3, 15, 16, 17, 100, len(stream)} {
		go func() {
			for rest := stream; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
				far.Write(rest[:min(piece, len(rest))])
			}
		}()
		c := NewConn(near, time.Second)
		var m Message
		for i := range want {
			require.NoError(t, c.Receive(&m))
			require.Equal(t, want[i], m.Header)
			require.True(t, bytes.Equal(bodies[i], m.Body))
		}
	}
}

func TestDescriptorsBelongToTheirMessage(t *testing.T) {
	near, far := sockets(t)
	before := openFDs(t)
	fds := eventfds(t, 3)
	a := append(Header{ID: 1, Size: 20}.Append(nil), "body"...)
	b := Header{ID: 2, Size: 16}.Append(nil)
	send := func(p []byte, fds ...int) {
		_, _, err := far.WriteMsgUnix(p, unix.UnixRights(fds...), nil)
		require.NoError(t, err)
	}
	send(a)               // none
	send(a[:3], fds[0])   // with the header
	send(a[3:])           //
	send(a[:18])          //
	send(a[18:], fds[1])  // with the body
	send(append(b, a...)) // two messages in one write
	send(b, fds[0], fds[2])

	c := NewConn(near, time.Second)
	var m Message
	for i, want := range []int{0, 1, 1, 0, 0, 2} {
		require.NoError(t, c.Receive(&m))
		require.Equal(t, want, m.FDs(), "message %d", i)
		for k := range m.FDs() {
			flags, err := unix.FcntlInt(uintptr(m.FD(k)), unix.F_GETFD, 0)
			require.NoError(t, err)
			require.Equal(t, unix.FD_CLOEXEC, flags&unix.FD_CLOEXEC)
		}
	}
	fd := m.TakeFD(1)
	m.Release()
	require.Equal(t, before+len(fds)+1, openFDs(t), "the descriptor of TakeFD")
	require.NoError(t, unix.Close(fd))
	m.Release()
}

func TestFrameErrorsHaveTheHeader(t *testing.T) {
	for what, c := range map[string]struct {
		size uint32
		fds  int
	}{
		"shorter than a header": {15, 2}, "empty": {0, 0}, "too long": {MaxMessage + 1, 1}, "huge": {^uint32(0), 0}, "too many descriptors": {16, MaxFDs + 1},
	} {
		t.Run(what, func(t *testing.T) {
			near, far := sockets(t)
			fds := eventfds(t, c.fds)
			before := openFDs(t)
			_, _, err := far.WriteMsgUnix(Header{ID: 9, Command: SetIRQs, Size: c.size}.Append(nil), unix.UnixRights(fds...), nil)
			require.NoError(t, err)
			var m Message
			err = NewConn(near, time.Second).Receive(&m)
			var frame *FrameError
			require.ErrorAs(t, err, &frame)
			require.ErrorIs(t, err, syscall.EINVAL)
			require.Equal(t, before, openFDs(t))
		})
	}
}

func TestEOFIsReturnedOnlyBetweenMessages(t *testing.T) {
	for n, want := range map[int]error{0: io.EOF, 7: io.ErrUnexpectedEOF, 16: io.ErrUnexpectedEOF, 18: io.ErrUnexpectedEOF, 20: nil} {
		near, far := sockets(t)
		before := openFDs(t)
		msg := append(Header{Size: 20}.Append(nil), "body"...)
		if n > 0 {
			_, _, err := far.WriteMsgUnix(msg[:n], unix.UnixRights(eventfds(t, 1)...), nil)
			require.NoError(t, err)
			before++
		}
		require.NoError(t, far.CloseWrite())
		c := NewConn(near, time.Second)
		var m Message
		err := c.Receive(&m)
		require.Equal(t, want, err, "%d bytes", n)
		m.Release()
		require.Equal(t, before, openFDs(t), "%d bytes", n)
	}
}

func TestAnAnnouncedSizeAllocatesLittle(t *testing.T) {
	near, far := sockets(t)
	_, err := far.Write(append(Header{Size: MaxMessage}.Append(nil), "few"...))
	require.NoError(t, err)
	require.NoError(t, far.Close())
	var m Message
	require.Equal(t, io.ErrUnexpectedEOF, NewConn(near, time.Second).Receive(&m))
	require.LessOrEqual(t, cap(m.Body), 2*firstRead)
}

func TestLargeMessages(t *testing.T) {
	near, far := sockets(t)
	a, b := NewConn(near, 5*time.Second), NewConn(far, 5*time.Second)
	body := make([]byte, MaxTransfer)
	for i := range body {
		body[i] = byte(i * 31 >> 3)
	}
	fds := eventfds(t, MaxFDs)
	sent := make(chan error, 1)
	go func() { sent <- a.Send(Header{ID: 3, Command: DMAWrite}, fds, []byte("fixed"), body) }()
	var m Message
	require.NoError(t, b.Receive(&m))
	require.NoError(t, <-sent)
	require.Equal(t, MaxFDs, m.FDs())
	require.True(t, bytes.Equal(m.Body, append([]byte("fixed"), body...)))
	m.Release()
	require.Error(t, a.Send(Header{}, nil, body, body), "too long")
	require.Error(t, a.Send(Header{}, append(fds, 0)), "too many")
}

func TestSendTimesOutIfThePeerDoesNotRead(t *testing.T) {
	near, _ := sockets(t)
	c := NewConn(near, 50*time.Millisecond)
	var err error
	for range 100 {
		if err = c.Send(Header{}, nil, make([]byte, MaxTransfer)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestErrorRepliesHaveOnlyTheErrno(t *testing.T) {
	near, far := sockets(t)
	a, b := NewConn(near, time.Second), NewConn(far, time.Second)
	request := &Message{Header: Header{ID: 77, Command: DMAMap}}
	require.NoError(t, a.Reply(&Message{Header: Header{Flags: NoReply}}, nil, nil), "NoReply")
	require.NoError(t, a.Reply(request, syscall.EEXIST, []int{0}, []byte("body")))
	require.NoError(t, a.Reply(request, errors.New("unnumbered"), nil))
	require.NoError(t, a.Reply(request, nil, nil, []byte("body")))
	var m Message
	for _, want := range []Header{
		{77, DMAMap, 16, TypeReply | ErrorFlag, uint32(syscall.EEXIST)},
		{77, DMAMap, 16, TypeReply | ErrorFlag, uint32(syscall.EINVAL)},
		{77, DMAMap, 20, TypeReply, 0},
	} {
		require.NoError(t, b.Receive(&m))
		require.Equal(t, want, m.Header)
		require.Zero(t, m.FDs())
	}
}

func TestOnlyEventfdsAreSignalled(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = OpenEventFD(int(w.Fd()))
	require.ErrorIs(t, err, syscall.EINVAL)
	_, err = OpenEventFD(1 << 20)
	require.Error(t, err)

	for _, flags := range []int{0, unix.EFD_NONBLOCK} {
		fd, err := unix.Eventfd(0, flags|unix.EFD_CLOEXEC)
		require.NoError(t, err)
		e, err := OpenEventFD(fd)
		require.NoError(t, err)
		e.Signal()
		e.Signal()
		var b [8]byte
		_, err = unix.Read(fd, b[:])
		require.NoError(t, err)
		require.EqualValues(t, 2, order.Uint64(b[:]))
		// A full counter blocks the writer of a blocking eventfd.
		order.PutUint64(b[:], ^uint64(0)-1)
		_, err = unix.Write(fd, b[:])
		require.NoError(t, err)
		e.Signal()
		require.Zero(t, testing.AllocsPerRun(10, e.Signal))
		require.NoError(t, e.Close())
	}
}

func memfd(t testing.TB, size int64, flags int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("proto-test", unix.MFD_CLOEXEC|flags)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Ftruncate(fd, size))
	return fd
}

func TestMappingsStayWithinTheFile(t *testing.T) {
	fd := memfd(t, 3*4096, 0)
	for what, c := range map[string]struct{ offset, size uint64 }{
		"nothing": {0, 0}, "beyond the end": {0, 3*4096 + 1}, "after the end": {3 * 4096, 1}, "around the end": {^uint64(0) - 4095, 4097}, "huge": {0, 1 << 63},
	} {
		_, err := Map(fd, c.offset, c.size, unix.PROT_READ)
		require.ErrorIs(t, err, syscall.EINVAL, what)
	}
	m, err := Map(fd, 4096+8, 5000, unix.PROT_READ|unix.PROT_WRITE)
	require.NoError(t, err)
	require.Len(t, m.Bytes(), 5000)
	m.Bytes()[0] = 42
	var b [1]byte
	_, err = unix.Pread(fd, b[:], 4096+8)
	require.NoError(t, err)
	require.EqualValues(t, 42, b[0])
	require.NoError(t, m.Close())
	require.Error(t, m.Close())

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	_, err = Map(int(r.Fd()), 0, 1, unix.PROT_READ)
	require.ErrorIs(t, err, syscall.EINVAL, "not a file")
	_, err = Map(-1, 0, 1, unix.PROT_READ)
	require.Error(t, err)
}

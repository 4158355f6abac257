package server

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// While a reply of the client is awaited, its requests are read ahead. Their number
// and their descriptors are limited: all are executed even after it disconnects, and
// the ports of a process share its descriptors.
func TestRequestsReadAheadAreBounded(t *testing.T) {
	for what, test := range map[string]struct{ fds, most int }{"empty": {0, 20000}, "with descriptors": {100, 100}} {
		t.Run(what, func(t *testing.T) {
			client, server := connPair(t)
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
			require.NoError(t, err)
			defer unix.Close(fd)
			fds := make([]int, test.fds)
			for i := range fds {
				fds[i] = fd
			}
			q := newQueue()
			defer q.release()
			q.addPending(+1)
			for n := 0; ; n++ {
				require.Less(t, n, test.most)
				require.NoError(t, client.Send(proto.Header{Command: proto.DeviceReset, Flags: proto.NoReply}, fds))
				m := new(proto.Message)
				require.NoError(t, server.Receive(m))
				require.Equal(t, test.fds, m.FDs())
				if err := q.put(m); err != nil {
					require.ErrorIs(t, err, errFlood)
					return
				}
			}
		})
	}
}

// After a disconnect the remaining requests are limited by the timeout.
func TestRequestsAfterADisconnectAreDropped(t *testing.T) {
	q := newQueue()
	q.timeout = 50 * time.Millisecond
	for range 3 {
		require.NoError(t, q.put(new(proto.Message)))
	}
	q.close()
	require.NotNil(t, q.get())
	time.Sleep(60 * time.Millisecond)
	q.close() // its worker closes it too
	require.Nil(t, q.get())
	q.release()
}

func connPair(t *testing.T) (a, b *proto.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var conns [2]*proto.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close() // FileConn duplicates
		c, err := net.FileConn(f)
		require.NoError(t, err)
		conns[i] = proto.NewConn(c.(*net.UnixConn), 0)
		t.Cleanup(func() { conns[i].Close() })
	}
	return conns[0], conns[1]
}

package server_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

const soon = 2 * time.Second

// raw is a client that sends arbitrary messages.
type raw struct {
	t    testing.TB
	uc   *net.UnixConn
	conn *proto.Conn
	fake *servertest.Device
	srv  *server.Server
	end  chan error // ServeConn's result
	id   uint16
	dma  []*proto.Message // requests of the server received while waiting for a reply
}

// connect serves a test device and connects without negotiating.
func connect(t testing.TB) *raw {
	t.Helper()
	fake, err := servertest.New(2)
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	srv := server.New(fake)
	srv.Timeout = time.Second
	t.Cleanup(func() { srv.Close() })
	near, far := servertest.Pair(t)
	c := &raw{t: t, uc: near, conn: proto.NewConn(near, soon), fake: fake, srv: srv, end: make(chan error, 1)}
	go func() { c.end <- srv.ServeConn(far) }()
	require.NoError(t, near.SetReadDeadline(time.Now().Add(30*time.Second)))
	return c
}

func negotiated(t testing.TB) *raw {
	t.Helper()
	c := connect(t)
	c.ask(nil, proto.Version, proto.Proposal().Append(nil))
	return c
}

// send sends a request and returns its ID.
func (c *raw) send(command proto.Command, body []byte, fds ...int) uint16 {
	c.t.Helper()
	c.id++
	require.NoError(c.t, c.conn.Send(proto.Header{ID: c.id, Command: command}, fds, body))
	return c.id
}

func (c *raw) receive() *proto.Message {
	c.t.Helper()
	m := new(proto.Message)
	require.NoError(c.t, c.conn.Receive(m))
	return m
}

// ask sends a request and requires the given error, nil for success.
func (c *raw) ask(want error, command proto.Command, body []byte, fds ...int) *proto.Message {
	c.t.Helper()
	id := c.send(command, body, fds...)
	m := c.receive()
	for !m.IsReply() {
		c.dma = append(c.dma, m)
		m = c.receive()
	}
	require.Equal(c.t, command, m.Command)
	require.Equal(c.t, id, m.ID)
	if want == nil {
		require.NoError(c.t, m.Err(), command)
	} else {
		require.ErrorIs(c.t, m.Err(), want, command)
		require.Empty(c.t, m.Body)
	}
	return m
}

// request returns the server's next request.
func (c *raw) request() *proto.Message {
	c.t.Helper()
	if len(c.dma) > 0 {
		m := c.dma[0]
		c.dma = c.dma[1:]
		return m
	}
	m := c.receive()
	require.False(c.t, m.IsReply())
	return m
}

func (c *raw) write32(off uint64, v uint32) {
	c.t.Helper()
	c.ask(nil, proto.RegionWrite, binary.LittleEndian.AppendUint32(proto.RegionAccess{Offset: off, Count: 4}.Append(nil), v))
}

func (c *raw) read32(off uint64) uint32 {
	c.t.Helper()
	return value(c.t, c.ask(nil, proto.RegionRead, proto.RegionAccess{Offset: off, Count: 4}.Append(nil)))
}

func value(t testing.TB, m *proto.Message) uint32 {
	t.Helper()
	_, data, err := proto.ParseRegionAccess(m.Body)
	require.NoError(t, err)
	require.Len(t, data, 4)
	return binary.LittleEndian.Uint32(data)
}

// alive checks that the connection still works.
func (c *raw) alive() {
	c.t.Helper()
	c.write32(0x20, 0xabcd)
	require.Equal(c.t, uint32(0xabcd), c.read32(0x20))
}

// dropped checks that the server has disconnected the client.
func (c *raw) dropped() {
	c.t.Helper()
	var m proto.Message
	err := c.conn.Receive(&m)
	for err == nil {
		err = c.conn.Receive(&m)
	}
	require.True(c.t, errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET), "%v", err)
	select {
	case <-c.end:
	case <-time.After(soon):
		c.t.Fatal("the client is still connected")
	}
	require.Zero(c.t, c.fake.Attached.Load())
}

func eventfd(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func memfd(t testing.TB, size int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate("server-test", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Ftruncate(fd, size))
	return fd
}

func dmaMap(addr, size, offset uint64, flags uint32) []byte {
	return proto.MapDMA{ArgSize: 32, Flags: flags, Offset: offset, Address: addr, Size: size}.Append(nil)
}

func dmaUnmap(addr, size uint64, flags uint32) []byte {
	return proto.UnmapDMA{ArgSize: 24, Flags: flags, Address: addr, Size: size}.Append(nil)
}

const readWrite = proto.DMAFlagRead | proto.DMAFlagWrite

// start programs the device's DMA engine by messages.
func (c *raw) start(command uint32, src, dst uint64, n int) {
	c.t.Helper()
	for off, v := range map[uint64]uint64{servertest.Source: src, servertest.Target: dst} {
		c.ask(nil, proto.RegionWrite, binary.LittleEndian.AppendUint64(proto.RegionAccess{Offset: off, Count: 8}.Append(nil), v))
	}
	c.write32(servertest.Length, uint32(n))
	c.write32(servertest.Command, command)
}

func (c *raw) status() uint32 {
	c.t.Helper()
	for end := time.Now().Add(soon); time.Now().Before(end); {
		if s := c.read32(servertest.Status); s != 0 {
			return s
		}
	}
	c.t.Fatal("the DMA engine has not ended")
	return 0
}

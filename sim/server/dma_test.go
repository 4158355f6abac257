package server_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

func TestOverlappingRangesAreRefused(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	fd := memfd(t, 1<<20)
	c.ask(nil, proto.DMAMap, dmaMap(0x10000, 0x4000, 0, readWrite), fd)
	c.ask(nil, proto.DMAMap, dmaMap(0x14000, 0x1000, 0, readWrite), fd)
	c.ask(nil, proto.DMAMap, dmaMap(0xf000, 0x1000, 0, readWrite))
	c.ask(nil, proto.DMAMap, dmaMap(^uint64(4095), 4096, 0, readWrite), fd)
	for _, r := range [][2]uint64{{0x10000, 0x4000}, {0x13fff, 1}, {0x10000, 1}, {0xe000, 0x1001}, {0, ^uint64(0)}, {0x12000, 0x100000}, {^uint64(0), 1}} {
		c.ask(syscall.EEXIST, proto.DMAMap, dmaMap(r[0], r[1], 0, readWrite))
	}
	for _, r := range [][2]uint64{{0x10001, 0x3fff}, {0x10000, 0x3fff}, {0xf800, 0x800}, {0x10000, 0x4800}} {
		c.ask(syscall.EINVAL, proto.DMAUnmap, dmaUnmap(r[0], r[1], 0))
	}
	c.ask(nil, proto.DMAUnmap, dmaUnmap(0x10000, 0x5000, 0))
	c.ask(nil, proto.DMAMap, dmaMap(0x10000, 0x5000, 0, readWrite), fd)
	c.ask(nil, proto.DMAUnmap, dmaUnmap(0x900000, 0x5000, 0)) // never mapped
	m := c.ask(nil, proto.DMAUnmap, dmaUnmap(0, 0, proto.UnmapFlagAll))
	require.Len(t, m.Body, proto.UnmapDMASize)
	c.ask(nil, proto.DMAMap, dmaMap(0, ^uint64(0), 0, readWrite))
}

func TestRangesBeyondTheFileAreRefused(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	fd := memfd(t, 8192)
	for _, r := range [][2]uint64{{0, 8193}, {4096, 8192}, {8192, 1}, {^uint64(4095), 4096}, {0, 1 << 43}} {
		c.ask(syscall.EINVAL, proto.DMAMap, dmaMap(0, r[1], r[0], readWrite), fd)
	}
	c.ask(nil, proto.DMAMap, dmaMap(0, 4096, 4096, readWrite), fd)

	readonly, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(readonly)
	c.ask(syscall.EACCES, proto.DMAMap, dmaMap(1<<20, 4096, 0, readWrite), readonly)
	c.ask(nil, proto.DMAMap, dmaMap(1<<20, 4096, 0, proto.DMAFlagRead), readonly)

	sparse := memfd(t, 1<<50)
	c.ask(syscall.ENOSPC, proto.DMAMap, dmaMap(1<<40, 1<<50, 0, readWrite), sparse)
}

func TestNumberOfRangesIsBounded(t *testing.T) {
	c := negotiated(t)
	for i := range uint64(proto.MaxMaps) {
		require.NoError(t, c.conn.Send(proto.Header{Command: proto.DMAMap, Flags: proto.NoReply}, nil, dmaMap(i<<12, 4096, 0, readWrite)))
	}
	c.ask(syscall.ENOSPC, proto.DMAMap, dmaMap(1<<40, 4096, 0, readWrite))
	c.ask(nil, proto.DMAUnmap, dmaUnmap(0, 4096, 0))
	c.ask(nil, proto.DMAMap, dmaMap(1<<40, 4096, 0, readWrite))
}

func TestTruncatedFileIsAnErrorOfTheTransfer(t *testing.T) {
	for what, command := range map[string]uint32{"device thread in Recover": servertest.Copy, "host's own copies": servertest.CopyByMessage} {
		t.Run(what, func(t *testing.T) {
			servertest.NoLeak(t)
			c := negotiated(t)
			fd := memfd(t, 1<<20)
			c.ask(nil, proto.DMAMap, dmaMap(0, 1<<20, 0, readWrite), fd)
			c.start(command, 0, 512<<10, 4096)
			require.EqualValues(t, servertest.Done, c.status())
			require.NoError(t, unix.Ftruncate(fd, 4096))
			c.start(command, 0, 512<<10, 4096)
			require.EqualValues(t, servertest.Failed, c.status())
			var fault *server.Fault
			require.ErrorAs(t, <-c.fake.Errors, &fault)
			require.NotZero(t, fault.Addr)
			c.alive()
		})
	}
}

func TestRecoverPassesOtherPanics(t *testing.T) {
	require.NoError(t, server.Recover(func() error { return nil }))
	require.ErrorIs(t, server.Recover(func() error { return syscall.EPERM }), syscall.EPERM)
	require.PanicsWithValue(t, "mine", func() { server.Recover(func() error { panic("mine") }) })
	require.Panics(t, func() {
		server.Recover(func() error {
			var err error
			_ = err.Error()
			return nil
		})
	})
}

// The device's thread holds the device's lock and waits for a DMA_READ; a register
// access waits for that lock; the reply to the DMA_READ follows it in the stream.
// There must be no deadlock.
func TestDMAReplyOvertakesRequestsThatWaitForTheDevice(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	c.ask(nil, proto.DMAMap, dmaMap(0x1000, 0x2000, 0, readWrite))
	c.start(servertest.CopyByMessage, 0x1000, 0x2000, 64)
	request := c.request()
	require.Equal(t, proto.DMARead, request.Command)
	a, _, err := proto.ParseDMAAccess(request.Body)
	require.NoError(t, err)
	require.Equal(t, proto.DMAAccess{Address: 0x1000, Count: 64}, a)

	const many = 200 // more than the server reads ahead
	for range many {
		c.send(proto.RegionRead, proto.RegionAccess{Offset: 0, Count: 4}.Append(nil))
	}
	data := make([]byte, 64)
	data[5] = 99
	require.NoError(t, c.conn.Send(proto.Header{ID: request.ID, Command: proto.DMARead, Flags: proto.TypeReply}, nil, a.Append(nil), data))
	var reads int
	var written []byte
	for reads < many || written == nil {
		m := c.receive()
		if m.Command == proto.DMAWrite {
			w, data, err := proto.ParseDMAAccess(m.Body)
			require.NoError(t, err)
			written = data
			// The specification's table gives the count four bytes.
			require.NoError(t, c.conn.Send(proto.Header{ID: m.ID, Command: proto.DMAWrite, Flags: proto.TypeReply}, nil, w.Append(nil)[:12]))
			continue
		}
		require.NoError(t, m.Err())
		reads++
	}
	require.Equal(t, data, written)
	require.EqualValues(t, servertest.Done, c.status())
}

func TestWrongRepliesToDMAFailTheTransferOnly(t *testing.T) {
	for what, answer := range map[string]func(m *proto.Message) (proto.Header, []byte){
		"error": func(m *proto.Message) (proto.Header, []byte) {
			return proto.Header{ID: m.ID, Command: m.Command, Flags: proto.ErrorFlag, Errno: 14}, nil
		},
		"no body": func(m *proto.Message) (proto.Header, []byte) { return proto.Header{ID: m.ID, Command: m.Command}, nil },
		"short data": func(m *proto.Message) (proto.Header, []byte) {
			return proto.Header{ID: m.ID, Command: m.Command}, append(m.Body, 1, 2, 3)
		},
		"long data": func(m *proto.Message) (proto.Header, []byte) {
			return proto.Header{ID: m.ID, Command: m.Command}, append(m.Body, make([]byte, 65)...)
		},
		"another range": func(m *proto.Message) (proto.Header, []byte) {
			return proto.Header{ID: m.ID, Command: m.Command}, append(proto.DMAAccess{Address: 1, Count: 64}.Append(nil), make([]byte, 64)...)
		},
		"other command": func(m *proto.Message) (proto.Header, []byte) {
			return proto.Header{ID: m.ID, Command: proto.DMAWrite}, append(m.Body, make([]byte, 64)...)
		},
	} {
		t.Run(what, func(t *testing.T) {
			servertest.NoLeak(t)
			c := negotiated(t)
			c.ask(nil, proto.DMAMap, dmaMap(0x1000, 0x2000, 0, readWrite))
			c.start(servertest.CopyByMessage, 0x1000, 0x2000, 64)
			h, body := answer(c.request())
			h.Flags |= proto.TypeReply
			require.NoError(t, c.conn.Send(h, []int{eventfd(t)}, body))
			require.EqualValues(t, servertest.Failed, c.status())
			c.alive()
		})
	}
}

func TestClientThatAnswersNoDMAIsDisconnected(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	c.ask(nil, proto.DMAMap, dmaMap(0x1000, 0x2000, 0, readWrite))
	c.start(servertest.CopyByMessage, 0x1000, 0x2000, 64)
	c.send(proto.RegionRead, proto.RegionAccess{Count: 4}.Append(nil)) // waits for the device's lock
	c.dropped()
	require.ErrorIs(t, <-c.fake.Errors, syscall.ETIMEDOUT)
}

func TestClientDiesInEachPhase(t *testing.T) {
	for what, do := range map[string]func(c *raw){
		"after negotiation": func(c *raw) {},
		"mapped":            func(c *raw) { c.ask(nil, proto.DMAMap, dmaMap(0, 4096, 0, readWrite), memfd(c.t, 4096)) },
		"within a header":   func(c *raw) { c.uc.Write([]byte{1, 2, 3}) },
		"within a body with descriptors": func(c *raw) {
			c.uc.WriteMsgUnix(proto.Header{Command: proto.DMAMap, Size: 48}.Append(nil), unix.UnixRights(eventfd(c.t)), nil)
		},
		"with a reply outstanding": func(c *raw) { c.send(proto.DeviceReset, nil) },
		"with interrupts": func(c *raw) {
			c.ask(nil, proto.SetIRQs, proto.IRQSet{ArgSize: 20, Flags: proto.IRQDataEventFD | proto.IRQActionTrigger, Index: 2, Count: 2}.Append(nil), eventfd(c.t), eventfd(c.t))
		},
		"with a DMA request unanswered": func(c *raw) {
			c.ask(nil, proto.DMAMap, dmaMap(0x1000, 0x2000, 0, readWrite))
			c.start(servertest.CopyByMessage, 0x1000, 0x2000, 64)
			c.request()
		},
		"not reading replies": func(c *raw) {
			for range 40 {
				c.send(proto.RegionRead, proto.RegionAccess{Count: servertest.BARSize}.Append(nil))
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			servertest.NoLeak(t)
			c := negotiated(t)
			do(c)
			require.NoError(t, c.uc.Close())
			select {
			case <-c.end:
			case <-time.After(soon):
				t.Fatal("the client is still connected")
			}
			require.Zero(t, c.fake.Attached.Load())
		})
	}
}

func TestClientThatReadsNothingIsDisconnected(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	go func() {
		for {
			h := proto.Header{Command: proto.RegionRead}
			if c.conn.Send(h, nil, proto.RegionAccess{Count: servertest.BARSize}.Append(nil)) != nil {
				return
			}
		}
	}()
	select {
	case err := <-c.end:
		require.Error(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("the client is still connected")
	}
	require.Zero(t, c.fake.Attached.Load())
}

// An access to an unmapped address is an error at once, and is sent to the client,
// whether or not it answers.
func TestUnmappedAccessIsSentToTheClientWithoutWaiting(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	c.ask(nil, proto.DMAMap, dmaMap(0x1000, 0x1000, 0, readWrite), memfd(t, 4096))
	for what, test := range map[string]struct {
		src, dst uint64
		command  proto.Command
		at       uint64
		size     uint64
	}{
		"read":  {0x7000, 0x1000, proto.DMARead, 0x7000, 16},
		"write": {0x1000, 0x9000, proto.DMAWrite, 0x9000, 16},
	} {
		c.start(servertest.CopyByMessage, test.src, test.dst, 16)
		require.EqualValues(t, servertest.Failed, c.status(), what)
		require.ErrorIs(t, <-c.fake.Errors, syscall.EFAULT)
		m := c.request()
		require.Equal(t, test.command, m.Command, what)
		a, data, err := proto.ParseDMAAccess(m.Body)
		require.NoError(t, err)
		require.Equal(t, proto.DMAAccess{Address: test.at, Count: test.size}, a)
		require.Len(t, data, map[proto.Command]int{proto.DMARead: 0, proto.DMAWrite: 16}[test.command])
		require.NoError(t, c.conn.Send(proto.Header{ID: m.ID, Command: m.Command, Flags: proto.TypeReply | proto.ErrorFlag, Errno: uint32(syscall.EFAULT)}, nil))
		c.alive()
	}
	for range 100 { // more than are queued; the first is not answered
		c.start(servertest.CopyByMessage, 0x7000, 0x1000, 16)
		require.EqualValues(t, servertest.Failed, c.status())
		<-c.fake.Errors
	}
	require.Equal(t, proto.DMARead, c.request().Command)
	time.Sleep(1100 * time.Millisecond) // the server's timeout
	c.start(servertest.CopyByMessage, 0x7000, 0x1000, 16)
	require.EqualValues(t, servertest.Failed, c.status())
	c.alive()
	require.Empty(t, c.dma, "no more accesses are sent to a client that does not answer")
}

// No thread waits for the reply any more; its descriptors must be closed.
func TestLateReplyToAnUnmappedAccessLeavesNoDescriptors(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	c.start(servertest.CopyByMessage, 0x7000, 0x1000, 16)
	require.EqualValues(t, servertest.Failed, c.status())
	m := c.request()
	time.Sleep(1100 * time.Millisecond) // the server's timeout
	require.NoError(t, c.conn.Send(proto.Header{ID: m.ID, Command: m.Command, Flags: proto.TypeReply}, []int{eventfd(t), eventfd(t)}))
	c.alive()
}

// BenchmarkMapUnmapPage measures map and unmap of a page, as a VM with an IOMMU does
// for every page that it sends, with some thousand receive buffers mapped.
func BenchmarkMapUnmapPage(b *testing.B) {
	c := negotiated(b)
	fd := memfd(b, 1<<30)
	const buffers = 8192
	for i := range uint64(buffers) {
		c.ask(nil, proto.DMAMap, dmaMap(1<<32+i*8192, 4096, i*4096, readWrite), fd)
	}
	for i := 0; b.Loop(); i++ {
		at := 1<<33 + uint64(i%4096)*12288
		c.ask(nil, proto.DMAMap, dmaMap(at, 4096, uint64(i%buffers)*4096, readWrite), fd)
		c.ask(nil, proto.DMAUnmap, dmaUnmap(at, 4096, 0))
	}
}

// A VM's memory is one file, whatever its IOMMU maps of it.
func TestRangesOfAFileShareOneMapping(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	fd, other := memfd(t, 64<<20), memfd(t, 1<<20)
	_, before := servertest.Resources(t)
	for i := range uint64(3000) {
		c.ask(nil, proto.DMAMap, dmaMap(i<<13, 4096, i<<12, readWrite), fd)
	}
	c.ask(nil, proto.DMAMap, dmaMap(1<<40, 4096, 0, proto.DMAFlagRead), other)
	_, now := servertest.Resources(t)
	require.Equal(t, before+2, now)

	// Each range is still its own part of the file.
	_, err := unix.Pwrite(fd, []byte("page 7"), 7<<12)
	require.NoError(t, err)
	c.start(servertest.Copy, 7<<13, 9<<13, 6)
	require.EqualValues(t, servertest.Done, c.status())
	got := make([]byte, 6)
	_, err = unix.Pread(fd, got, 9<<12)
	require.NoError(t, err)
	require.Equal(t, "page 7", string(got))
	for what, r := range map[string][2]uint64{"beyond a page": {8 << 13, 4097}, "between two": {8<<13 + 4096, 1}} {
		c.start(servertest.Copy, r[0], 9<<13, int(r[1]))
		require.EqualValues(t, servertest.Failed, c.status(), what)
		<-c.fake.Errors
	}
	c.ask(nil, proto.DMAUnmap, dmaUnmap(0, 3000<<13, 0))
	_, now = servertest.Resources(t)
	require.Equal(t, before+1, now)
	c.start(servertest.Copy, 1<<40, 9<<13, 6)
	require.EqualValues(t, servertest.Failed, c.status(), "unmapped")
	<-c.fake.Errors
}

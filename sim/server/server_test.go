package server_test

import (
	"encoding/binary"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/logtest"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

func TestFirstMessageMustNegotiate(t *testing.T) {
	version := func(major uint16, json string) []byte {
		return append(binary.NativeEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, major), 0), json...)
	}
	for what, send := range map[string]func(c *raw){
		"another command": func(c *raw) { c.send(proto.GetInfo, proto.DeviceInfo{ArgSize: 16}.Append(nil)) },
		"no body":         func(c *raw) { c.send(proto.Version, nil) },
		"another major":   func(c *raw) { c.send(proto.Version, version(999, "")) },
		"no NUL":          func(c *raw) { c.send(proto.Version, version(0, "{}")) },
		"bad JSON":        func(c *raw) { c.send(proto.Version, version(0, "{\x00")) },
		"bad capability":  func(c *raw) { c.send(proto.Version, version(0, `{"capabilities":{"max_msg_fds":"x"}}`+"\x00")) },
		"descriptors":     func(c *raw) { c.send(proto.Version, version(0, ""), eventfd(c.t), eventfd(c.t)) },
		"too long": func(c *raw) {
			c.uc.Write(proto.Header{Command: proto.Version, Size: proto.MaxMessage + 1}.Append(nil))
		},
	} {
		t.Run(what, func(t *testing.T) {
			servertest.NoLeak(t)
			c := connect(t)
			send(c)
			require.ErrorIs(t, c.receive().Err(), syscall.EINVAL)
			c.dropped()
		})
	}
	t.Run("no message", func(t *testing.T) {
		servertest.NoLeak(t)
		c := connect(t)
		c.dropped()
	})
	t.Run("disconnect", func(t *testing.T) {
		servertest.NoLeak(t)
		c := connect(t)
		require.NoError(t, c.uc.Close())
		require.Error(t, <-c.end)
	})
	t.Run("version without JSON", func(t *testing.T) {
		servertest.NoLeak(t)
		c := connect(t)
		m := c.ask(nil, proto.Version, version(0, ""))
		v, err := proto.ParseVersion(m.Body)
		require.NoError(t, err)
		require.False(t, v.Capabilities.WriteMultiple)
		require.Equal(t, proto.MaxTransfer, v.Capabilities.MaxTransfer)
		c.ask(syscall.EINVAL, proto.WriteMulti, proto.AppendMulti(nil, nil))
		c.alive()
	})
}

// One vector, descriptor or byte too many; the list follows libvfio-user's
// test_request_errors.py and its siblings.
func TestMalformedRequestsAreAnsweredWithErrors(t *testing.T) {
	irq := func(flags, index, start, count uint32, data ...byte) []byte {
		return proto.IRQSet{ArgSize: uint32(20 + len(data)), Flags: flags, Index: index, Start: start, Count: count, Data: data}.Append(nil)
	}
	const (
		none, boolean, efd    = proto.IRQDataNone, proto.IRQDataBool, proto.IRQDataEventFD
		trigger, mask, unmask = proto.IRQActionTrigger, proto.IRQActionMask, proto.IRQActionUnmask
	)
	region := func(off uint64, region, count uint32, data ...byte) []byte {
		return append(proto.RegionAccess{Offset: off, Region: region, Count: count}.Append(nil), data...)
	}
	ioFDs := func(argsz, flags, index, count uint32) []byte {
		return proto.RegionFDs{ArgSize: argsz, Flags: flags, Index: index, Count: count}.Append(nil)
	}
	cases := []struct {
		what    string
		want    error
		command proto.Command
		body    []byte
		fds     int
	}{
		{"unknown command", syscall.EINVAL, 19, nil, 0},
		{"unknown command with descriptors", syscall.EINVAL, 999, []byte{0}, 2},
		{"command 0", syscall.EINVAL, 0, nil, 0},
		{"old dirty pages command", syscall.EINVAL, 14, nil, 0},
		{"server's command", syscall.EINVAL, proto.DMARead, make([]byte, 16), 0},
		{"second version", syscall.EINVAL, proto.Version, proto.Proposal().Append(nil), 0},
		{"feature", syscall.ENOTSUP, proto.DeviceFeature, make([]byte, 8), 0},
		{"migration data", syscall.ENOTSUP, proto.MigDataRead, make([]byte, 8), 0},
		{"info: no payload", syscall.EINVAL, proto.GetInfo, nil, 0},
		{"info: argsz", syscall.EINVAL, proto.GetInfo, proto.DeviceInfo{ArgSize: 15}.Append(nil), 0},
		{"info: descriptor", syscall.EINVAL, proto.GetInfo, proto.DeviceInfo{ArgSize: 16}.Append(nil), 1},
		{"region info: no payload", syscall.EINVAL, proto.GetRegionInfo, nil, 0},
		{"region info: argsz", syscall.EINVAL, proto.GetRegionInfo, proto.RegionInfo{ArgSize: 31}.Append(nil), 0},
		{"region info: index", syscall.EINVAL, proto.GetRegionInfo, proto.RegionInfo{ArgSize: 32, Index: 9}.Append(nil), 0},
		{"irq info: argsz", syscall.EINVAL, proto.GetIRQInfo, proto.IRQInfo{ArgSize: 15}.Append(nil), 0},
		{"irq info: index", syscall.EINVAL, proto.GetIRQInfo, proto.IRQInfo{ArgSize: 16, Index: 5}.Append(nil), 0},
		{"io fds: no payload", syscall.EINVAL, proto.GetRegionFDs, nil, 0},
		{"io fds: flags", syscall.EINVAL, proto.GetRegionFDs, ioFDs(512, 1, 0, 0), 0},
		{"io fds: count", syscall.EINVAL, proto.GetRegionFDs, ioFDs(512, 0, 0, 1), 0},
		{"io fds: small argsz", syscall.EINVAL, proto.GetRegionFDs, ioFDs(15, 0, 0, 0), 0},
		{"io fds: large argsz", syscall.EINVAL, proto.GetRegionFDs, ioFDs(proto.MaxTransfer+1, 0, 0, 0), 0},
		{"io fds: absent region", syscall.EINVAL, proto.GetRegionFDs, ioFDs(512, 0, 3, 0), 0},
		{"io fds: index", syscall.EINVAL, proto.GetRegionFDs, ioFDs(512, 0, 512, 0), 0},
		{"irqs: no payload", syscall.EINVAL, proto.SetIRQs, nil, 0},
		{"irqs: short", syscall.EINVAL, proto.SetIRQs, make([]byte, 8), 0},
		{"irqs: argsz", syscall.EINVAL, proto.SetIRQs, proto.IRQSet{ArgSize: 3, Flags: trigger | none, Index: 4}.Append(nil), 0},
		{"irqs: index", syscall.EINVAL, proto.SetIRQs, irq(trigger|none, 5, 0, 0), 0},
		{"irqs: two actions", syscall.EINVAL, proto.SetIRQs, irq(mask|unmask|none, 2, 0, 1), 0},
		{"irqs: no action", syscall.EINVAL, proto.SetIRQs, irq(none, 2, 0, 1), 0},
		{"irqs: two kinds of data", syscall.EINVAL, proto.SetIRQs, irq(mask|none|boolean, 2, 0, 1), 0},
		{"irqs: no data kind", syscall.EINVAL, proto.SetIRQs, irq(mask, 2, 0, 1), 0},
		{"irqs: unknown flag", syscall.EINVAL, proto.SetIRQs, irq(mask|none|1<<6, 2, 0, 1), 0},
		{"irqs: last vector and one more", syscall.EINVAL, proto.SetIRQs, irq(mask|none, 2, 63, 2), 0},
		{"irqs: start beyond", syscall.EINVAL, proto.SetIRQs, irq(mask|none, 2, 65, 1), 0},
		{"irqs: count overflows", syscall.EINVAL, proto.SetIRQs, irq(trigger|efd, 2, 4, ^uint32(0)), 0},
		{"irqs: mask error", syscall.EINVAL, proto.SetIRQs, irq(mask|none, 3, 0, 1), 0},
		{"irqs: mask request", syscall.EINVAL, proto.SetIRQs, irq(mask|none, 4, 0, 1), 0},
		{"irqs: two errors", syscall.EINVAL, proto.SetIRQs, irq(trigger|none, 3, 0, 2), 0},
		{"irqs: all from 1", syscall.EINVAL, proto.SetIRQs, irq(trigger|none, 2, 1, 0), 0},
		{"irqs: mask all", syscall.EINVAL, proto.SetIRQs, irq(mask|none, 2, 0, 0), 0},
		{"irqs: all booleans", syscall.EINVAL, proto.SetIRQs, irq(trigger|boolean, 2, 0, 0), 0},
		{"irqs: mask by eventfd", syscall.EINVAL, proto.SetIRQs, irq(mask|efd, 2, 0, 1), 1},
		{"irqs: descriptor with booleans", syscall.EINVAL, proto.SetIRQs, irq(trigger|boolean, 2, 0, 1, 0), 1},
		{"irqs: descriptor with nothing", syscall.EINVAL, proto.SetIRQs, irq(trigger|none, 2, 0, 1), 1},
		{"irqs: one descriptor for two", syscall.EINVAL, proto.SetIRQs, irq(trigger|efd, 2, 0, 2), 1},
		{"irqs: two descriptors for one", syscall.EINVAL, proto.SetIRQs, irq(trigger|efd, 2, 0, 1), 2},
		{"irqs: booleans missing", syscall.EINVAL, proto.SetIRQs, irq(trigger|boolean, 2, 0, 1), 2},
		{"irqs: one boolean too few", syscall.EINVAL, proto.SetIRQs, irq(trigger|boolean, 2, 0, 2, 0), 0},
		{"irqs: one boolean too many", syscall.EINVAL, proto.SetIRQs, irq(trigger|boolean, 2, 0, 2, 0, 0, 0), 0},
		{"read: short", syscall.EINVAL, proto.RegionRead, make([]byte, 15), 0},
		{"read: trailing bytes", syscall.EINVAL, proto.RegionRead, region(0, 0, 4, 0), 0},
		{"read: region", syscall.EINVAL, proto.RegionRead, region(0, 9, 4), 0},
		{"read: huge region", syscall.EINVAL, proto.RegionRead, region(0, ^uint32(0), 4), 0},
		{"read: absent region", syscall.EINVAL, proto.RegionRead, region(0, 1, 4), 0},
		{"read: beyond the end", syscall.EINVAL, proto.RegionRead, region(servertest.BARSize-3, 0, 4), 0},
		{"read: offset overflows", syscall.EINVAL, proto.RegionRead, region(^uint64(0)-1, 0, 4), 0},
		{"read: count", syscall.EINVAL, proto.RegionRead, region(0, 0, proto.MaxTransfer+1), 0},
		{"read: descriptor", syscall.EINVAL, proto.RegionRead, region(0, 0, 4), 1},
		{"read: device refuses", syscall.EPERM, proto.RegionRead, region(servertest.Refused, 0, 4), 0},
		{"write: data missing", syscall.EINVAL, proto.RegionWrite, region(0, 0, 4, 1, 2, 3), 0},
		{"write: data left over", syscall.EINVAL, proto.RegionWrite, region(0, 0, 1, 1, 2), 0},
		{"write: read-only region", syscall.EACCES, proto.RegionWrite, region(0, 2, 1, 1), 0},
		{"write: beyond the end", syscall.EINVAL, proto.RegionWrite, region(servertest.BARSize, 0, 1, 1), 0},
		{"multi: short", syscall.EINVAL, proto.WriteMulti, make([]byte, 7), 0},
		{"multi: count", syscall.EINVAL, proto.WriteMulti, proto.AppendCount(nil, 1), 0},
		{"multi: second write is wide", syscall.EINVAL, proto.WriteMulti, proto.AppendMulti(nil, []proto.MultiWrite{
			{RegionAccess: proto.RegionAccess{Offset: 0, Count: 4}}, {RegionAccess: proto.RegionAccess{Offset: 0, Count: 9}}}), 0},
		{"multi: region", syscall.EINVAL, proto.WriteMulti, proto.AppendMulti(nil, []proto.MultiWrite{{RegionAccess: proto.RegionAccess{Region: 30, Count: 4}}}), 0},
		{"map: short", syscall.EINVAL, proto.DMAMap, make([]byte, 31), 1},
		{"map: argsz", syscall.EINVAL, proto.DMAMap, proto.MapDMA{ArgSize: 8, Size: 4096}.Append(nil), 1},
		{"map: flags", syscall.EINVAL, proto.DMAMap, dmaMap(0, 4096, 0, 1<<4), 1},
		{"map: two descriptors", syscall.EINVAL, proto.DMAMap, dmaMap(0, 4096, 0, 3), 2},
		{"map: no file", syscall.EINVAL, proto.DMAMap, dmaMap(0, 4096, 0, 3), 1},
		{"map: descriptor missing", syscall.EINVAL, proto.DMAMap, dmaMap(0, 4096, 0, 3|proto.DMAFlagMmap), 0},
		{"map: file i/o without file", syscall.EINVAL, proto.DMAMap, dmaMap(0, 4096, 0, 3|proto.DMAFlagFileIO), 0},
		{"map: empty", syscall.EINVAL, proto.DMAMap, dmaMap(4096, 0, 0, 3), 0},
		{"map: wraps", syscall.EINVAL, proto.DMAMap, dmaMap(^uint64(4095), 8192, 0, 3), 0},
		{"unmap: short", syscall.EINVAL, proto.DMAUnmap, make([]byte, 8), 0},
		{"unmap: argsz", syscall.EINVAL, proto.DMAUnmap, proto.UnmapDMA{ArgSize: 8, Size: 4096}.Append(nil), 0},
		{"unmap: flags", syscall.EINVAL, proto.DMAUnmap, dmaUnmap(0, 4096, 4), 0},
		{"unmap: all with an address", syscall.EINVAL, proto.DMAUnmap, dmaUnmap(4096, 4096, proto.UnmapFlagAll), 0},
		{"unmap: dirty bitmap", syscall.EINVAL, proto.DMAUnmap, dmaUnmap(0, 4096, proto.UnmapFlagDirtyBitmap), 0},
		{"reset: body", syscall.EINVAL, proto.DeviceReset, []byte{0}, 0},
	}
	servertest.NoLeak(t)
	c := negotiated(t)
	fds := []int{eventfd(t), eventfd(t)}
	before, maps := servertest.Resources(t)
	for _, k := range cases {
		t.Run(k.what, func(t *testing.T) {
			c.t = t
			c.ask(k.want, k.command, k.body, fds[:k.fds]...)
			now, nowMaps := servertest.Resources(t)
			require.Equal(t, before, now, "descriptors")
			require.Equal(t, maps, nowMaps, "mappings")
		})
	}
	c.t = t
	c.alive()
}

func TestInvalidHeadersEndTheConnection(t *testing.T) {
	for what, c := range map[string]struct {
		size  uint32
		flags uint32
		fds   int
	}{
		"too small": {15, 0, 1}, "empty": {0, 0, 0}, "too large": {proto.MaxMessage + 1, 0, 2}, "too many descriptors": {16, 0, proto.MaxFDs + 1}, "unanswered": {3, proto.NoReply, 0},
	} {
		t.Run(what, func(t *testing.T) {
			servertest.NoLeak(t)
			r := negotiated(t)
			var fds []int
			for range c.fds {
				fds = append(fds, eventfd(t))
			}
			h := proto.Header{ID: 0xbad1, Command: proto.SetIRQs, Size: c.size, Flags: c.flags}
			_, _, err := r.uc.WriteMsgUnix(h.Append(nil), unix.UnixRights(fds...), nil)
			require.NoError(t, err)
			if c.flags == 0 {
				m := r.receive()
				require.EqualValues(t, 0xbad1, m.ID)
				require.ErrorIs(t, m.Err(), syscall.EINVAL)
			}
			r.dropped()
		})
	}
}

func TestUnexpectedRepliesAndUnknownTypesAreHarmless(t *testing.T) {
	servertest.NoLeak(t)
	c := negotiated(t)
	for range 100 {
		require.NoError(t, c.conn.Send(proto.Header{ID: 1, Command: proto.DMARead, Flags: proto.TypeReply}, []int{eventfd(t)}, make([]byte, 20)))
	}
	c.alive()
	require.NoError(t, c.conn.Send(proto.Header{ID: 5, Command: proto.GetInfo, Flags: 7}, nil))
	require.ErrorIs(t, c.receive().Err(), syscall.EINVAL)
	c.alive()
}

func TestRequestsWithoutReplyAreExecutedInOrder(t *testing.T) {
	c := negotiated(t)
	for i := range uint32(300) {
		body := binary.LittleEndian.AppendUint32(proto.RegionAccess{Offset: 0x80, Count: 4}.Append(nil), i)
		require.NoError(t, c.conn.Send(proto.Header{ID: 9, Command: proto.RegionWrite, Flags: proto.NoReply}, nil, body))
		require.NoError(t, c.conn.Send(proto.Header{ID: 9, Command: 999, Flags: proto.NoReply}, nil))
	}
	require.EqualValues(t, 299, c.read32(0x80))
	require.EqualValues(t, 300, c.read32(servertest.Counter))
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	c := negotiated(t)
	go func() {
		for i := range uint16(500) {
			c.conn.Send(proto.Header{ID: i, Command: proto.RegionRead}, nil, proto.RegionAccess{Offset: 0, Count: 4}.Append(nil))
		}
	}()
	for i := range uint16(500) {
		m := c.receive()
		require.Equal(t, i, m.ID)
		require.NoError(t, m.Err())
	}
}

func TestMultiWriteWritesAll(t *testing.T) {
	c := negotiated(t)
	m := c.ask(nil, proto.WriteMulti, proto.AppendMulti(nil, []proto.MultiWrite{
		{RegionAccess: proto.RegionAccess{Offset: 0x40, Count: 4}, Data: [8]byte{1, 2, 3, 4}},
		{RegionAccess: proto.RegionAccess{Offset: 0x48, Count: 8}, Data: [8]byte{5, 6, 7, 8, 9, 10, 11, 12}},
	}))
	require.EqualValues(t, 2, binary.NativeEndian.Uint64(m.Body))
	require.Equal(t, []byte{1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8, 9, 10, 11, 12}, c.fake.Registers()[0x40:0x50])
}

func TestServeDisconnectsBadClients(t *testing.T) {
	servertest.NoLeak(t)
	fake, err := servertest.New(0)
	require.NoError(t, err)
	defer fake.Close()
	srv := server.New(fake)
	srv.Timeout = 100 * time.Millisecond
	var log logtest.Recorder
	srv.Logger = log.Logger()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	dial := func() *net.UnixConn {
		c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial() // sends nothing
	bad := dial()
	bad.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	good := &raw{t: t, conn: proto.NewConn(dial(), soon)}
	good.ask(nil, proto.Version, proto.Proposal().Append(nil))
	require.Eventually(t, func() bool { return len(log.Lines()) == 2 }, 30*time.Second, time.Millisecond)
	for _, line := range log.Lines() {
		require.Contains(t, line, "client disconnected error=serve client: negotiate: ")
	}
	require.NoError(t, srv.Close())
	require.NoError(t, <-served)
	require.NoError(t, srv.Serve(l), "after Close")
	require.NoError(t, srv.ServeConn(dialPair(t)), "after Close")
}

func dialPair(t *testing.T) *net.UnixConn {
	a, _ := servertest.Pair(t)
	return a
}

func TestInvalidLayoutIsAnError(t *testing.T) {
	for what, change := range map[string]func(l *server.Layout){
		"no configuration space": func(l *server.Layout) { l.Regions = l.Regions[:7] },
		"doorbell outside":       func(l *server.Layout) { l.Regions[0].Doorbells = []server.Doorbell{{Offset: servertest.BARSize}} },
		"doorbell between":       func(l *server.Layout) { l.Regions[0].Doorbells = []server.Doorbell{{Offset: 2}} },
		"too many vectors":       func(l *server.Layout) { l.Vectors[2] = 2049 },
	} {
		fake, err := servertest.New(0)
		require.NoError(t, err)
		defer fake.Close()
		err = server.New(odd{fake, change}).ServeConn(dialPair(t))
		require.ErrorContains(t, err, "layout", what)
	}
}

type odd struct {
	*servertest.Device
	change func(*server.Layout)
}

func (o odd) Layout() server.Layout {
	l := o.Device.Layout()
	o.change(&l)
	return l
}

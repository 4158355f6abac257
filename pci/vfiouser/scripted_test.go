package vfiouser_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

// reply is a reply of a scripted server. Parts that are nil have their default.
type reply struct {
	header func(h *proto.Header)
	body   []byte
	fds    []int
	err    error
	none   bool // no reply
	hangUp bool
	raw    []byte // instead of a message
}

// script returns the reply to a request, nil for the default.
type script func(m *proto.Message) *reply

// scripted serves a minimal device with the replies of a script: BAR 0 of 64 KiB and a
// configuration space, which read as 0.
func scripted(t testing.TB, s script) (near *net.UnixConn, conn *proto.Conn) {
	t.Helper()
	near, far := servertest.Pair(t)
	conn = proto.NewConn(far, time.Second)
	go func() {
		defer conn.Close()
		var m proto.Message
		defer m.Release()
		for conn.Receive(&m) == nil {
			if m.IsReply() {
				continue
			}
			r := s(&m)
			if r == nil {
				r = standard(&m)
			}
			if !r.send(far, conn, &m) {
				return
			}
		}
	}()
	return near, conn
}

func (r *reply) send(uc *net.UnixConn, conn *proto.Conn, m *proto.Message) bool {
	switch {
	case r.hangUp:
		return false
	case r.none:
		return true
	case r.raw != nil:
		_, err := uc.Write(r.raw)
		return err == nil
	case r.err != nil:
		return conn.Reply(m, r.err, nil) == nil
	}
	h := proto.Header{ID: m.ID, Command: m.Command, Flags: proto.TypeReply}
	if r.header != nil {
		r.header(&h)
	}
	return conn.Send(h, r.fds, r.body) == nil
}

func standard(m *proto.Message) *reply {
	switch m.Command {
	case proto.Version:
		v, _ := proto.Negotiate(proto.Proposal())
		return &reply{body: v.Append(nil)}
	case proto.GetInfo:
		return &reply{body: proto.DeviceInfo{ArgSize: 16, Flags: 3, Regions: 9, IRQs: 5}.Append(nil)}
	case proto.GetRegionInfo:
		q, _ := proto.ParseRegionInfo(m.Body)
		info := proto.RegionInfo{ArgSize: 32, Index: q.Index, Flags: 3}
		info.Size = map[uint32]uint64{0: 0x10000, proto.ConfigRegion: 256}[q.Index]
		return &reply{body: info.Append(nil)}
	case proto.GetIRQInfo:
		q, _ := proto.ParseIRQInfo(m.Body)
		return &reply{body: proto.IRQInfo{ArgSize: 16, Flags: 1, Index: q.Index, Count: 1}.Append(nil)}
	case proto.RegionRead:
		a, _, _ := proto.ParseRegionAccess(m.Body)
		return &reply{body: append(a.Append(nil), make([]byte, a.Count)...)}
	case proto.RegionWrite:
		a, _, _ := proto.ParseRegionAccess(m.Body)
		return &reply{body: a.Append(nil)}
	case proto.DMAMap, proto.SetIRQs, proto.DeviceReset:
		return &reply{}
	case proto.DMAUnmap:
		return &reply{body: append([]byte(nil), m.Body...)}
	}
	return &reply{err: syscall.EINVAL} // as servers without DEVICE_GET_REGION_IO_FDS
}

// on replies to a command if match returns true.
func on(command proto.Command, match func(m *proto.Message) bool, answer func(m *proto.Message) *reply) script {
	return func(m *proto.Message) *reply {
		if m.Command != command || match != nil && !match(m) {
			return nil
		}
		return answer(m)
	}
}

func region(index uint32) func(m *proto.Message) bool {
	return func(m *proto.Message) bool {
		q, err := proto.ParseRegionInfo(m.Body)
		return err == nil && q.Index == index
	}
}

func memfd(t testing.TB, size int64) int {
	t.Helper()
	fd, err := unix.MemfdCreate("client-test", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Ftruncate(fd, size))
	return fd
}

func always(r *reply) func(*proto.Message) *reply { return func(*proto.Message) *reply { return r } }

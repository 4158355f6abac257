package server_test

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

// seeds are valid message streams of a client.
func seeds() (s [][]byte) {
	message := func(command proto.Command, flags uint32, body []byte) []byte {
		return append(proto.Header{ID: 1, Command: command, Size: uint32(16 + len(body)), Flags: flags}.Append(nil), body...)
	}
	region := func(off uint64, v uint32) []byte {
		return binary.LittleEndian.AppendUint32(proto.RegionAccess{Offset: off, Count: 4}.Append(nil), v)
	}
	irq := proto.IRQSet{ArgSize: 20, Flags: proto.IRQDataEventFD | proto.IRQActionTrigger, Index: 2, Count: 1}.Append(nil)
	all := [][]byte{
		message(proto.GetInfo, 0, proto.DeviceInfo{ArgSize: 16}.Append(nil)),
		message(proto.GetRegionInfo, 0, proto.RegionInfo{ArgSize: 32}.Append(nil)),
		message(proto.GetRegionFDs, 0, proto.RegionFDs{ArgSize: 512}.Append(nil)),
		message(proto.GetIRQInfo, 0, proto.IRQInfo{ArgSize: 16, Index: 2}.Append(nil)),
		message(proto.DMAMap, 0, dmaMap(0, 8192, 0, readWrite)),
		message(proto.SetIRQs, 0, irq),
		message(proto.RegionWrite, 0, region(servertest.Target, 4096)),
		message(proto.RegionWrite, 0, region(servertest.Length, 64)),
		message(proto.RegionWrite, proto.NoReply, region(servertest.Command, servertest.CopyByMessage)),
		message(proto.DMARead, proto.TypeReply, append(proto.DMAAccess{Count: 64}.Append(nil), make([]byte, 64)...)),
		message(proto.RegionRead, 0, proto.RegionAccess{Offset: 16, Count: 4}.Append(nil)),
		message(proto.WriteMulti, 0, proto.AppendMulti(nil, make([]proto.MultiWrite, 2))),
		message(proto.DMAUnmap, 0, dmaUnmap(0, 8192, 0)),
		message(proto.DeviceReset, 0, nil),
	}
	s = append(s, all...)
	var stream []byte
	for _, m := range all {
		stream = append(stream, m...)
	}
	return append(s, stream)
}

// FuzzServerMessages sends bytes to a server after negotiation, some with a
// descriptor (an eventfd, a memfd, a pipe). The server must disconnect without a
// panic, a hang or a descriptor leak.
func FuzzServerMessages(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, uint8(0), true)
		f.Add(s, uint8(1), true)
		f.Add(s, uint8(2), true)
	}
	f.Add(proto.Proposal().Append(nil), uint8(0), false)
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, negotiate bool) {
		servertest.NoLeak(t)
		fake, err := servertest.New(1)
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		srv := server.New(fake)
		srv.Timeout = 200 * time.Millisecond
		near, far := servertest.Pair(t)
		end := make(chan struct{})
		go func() {
			srv.ServeConn(far)
			close(end)
		}()
		if negotiate {
			c := proto.NewConn(near, time.Second)
			var m proto.Message
			if err := c.Send(proto.Header{Command: proto.Version}, nil, proto.Proposal().Append(nil)); err != nil {
				t.Fatal(err)
			}
			if err := c.Receive(&m); err != nil {
				t.Fatal(err)
			}
		}
		go func() { // read replies, so that the server does not block
			var sink [4096]byte
			for {
				if _, err := near.Read(sink[:]); err != nil {
					return
				}
			}
		}()
		near.SetWriteDeadline(time.Now().Add(time.Second))
		if fd := descriptor(t, kind); fd >= 0 {
			if len(b) > 0 {
				n, _, _ := near.WriteMsgUnix(b, unix.UnixRights(fd), nil)
				b = b[n:]
			}
			unix.Close(fd)
		}
		near.Write(b)
		near.CloseWrite()
		select {
		case <-end:
		case <-time.After(30 * time.Second):
			t.Fatal("the client is still connected")
		}
		if fake.Attached.Load() != 0 {
			t.Fatal("the device is still attached")
		}
	})
}

func descriptor(t *testing.T, kind uint8) int {
	var fd int
	var err error
	switch kind % 4 {
	case 1:
		fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC)
	case 2:
		if fd, err = unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC); err == nil {
			err = unix.Ftruncate(fd, 8192)
		}
	case 3:
		var p [2]int
		if err = unix.Pipe2(p[:], unix.O_CLOEXEC); err == nil {
			unix.Close(p[0])
			fd = p[1]
		}
	default:
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

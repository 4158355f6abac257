package vfiouser_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

// FuzzClientReplies sends bytes to a client in place of a server's messages: from the
// start, or after a regular start, during a read, a DMA mapping and a reset. The client
// must return an error or an answer, without panic, deadlock or leaked descriptor.
func FuzzClientReplies(f *testing.F) {
	h := func(id uint16, c proto.Command, body []byte) []byte {
		return append(proto.Header{ID: id, Command: c, Size: uint32(16 + len(body)), Flags: proto.TypeReply}.Append(nil), body...)
	}
	v, _ := proto.Negotiate(proto.Proposal())
	opening := h(1, proto.Version, v.Append(nil))
	f.Add(opening, false, uint8(0))
	opening = append(opening, h(2, proto.GetInfo, proto.DeviceInfo{ArgSize: 16, Flags: 3, Regions: 9, IRQs: 1}.Append(nil))...)
	f.Add(opening, false, uint8(1))
	opening = append(opening, h(3, proto.GetIRQInfo, proto.IRQInfo{ArgSize: 16, Count: 1}.Append(nil))...)
	f.Add(opening, false, uint8(2))
	info := proto.RegionInfo{Flags: 7, Size: 0x2000, Sparse: []proto.Area{{Offset: 0, Size: 0x1000}}}
	info.ArgSize = info.FullSize()
	opening = append(opening, h(4, proto.GetRegionInfo, info.Append(nil))...)
	f.Add(opening, false, uint8(2))
	opening = append(opening, h(5, proto.GetRegionFDs, proto.RegionFDs{ArgSize: 16 + 48, Count: 1, Entries: []proto.RegionFD{{Size: 4, Kind: 2}}}.Append(nil))...)
	f.Add(opening, false, uint8(1))
	for _, m := range [][]byte{
		proto.Header{ID: 3, Command: proto.DMARead, Size: 32}.Append(nil),
		h(30, proto.RegionRead, make([]byte, 20)),
		h(31, proto.DMAMap, nil),
		h(32, proto.DeviceReset, nil),
	} {
		f.Add(m, true, uint8(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, open bool, kind uint8) {
		servertest.NoLeak(t)
		near, far := servertest.Pair(t)
		conn := proto.NewConn(far, time.Second)
		inject := make(chan struct{})
		go func() {
			defer far.Close()
			if open {
				for {
					var m proto.Message
					if conn.Receive(&m) != nil {
						return
					}
					standard(&m).send(far, conn, &m)
					m.Release()
					select {
					case <-inject:
					default:
						continue
					}
					break
				}
			}
			far.SetWriteDeadline(time.Now().Add(time.Second))
			if fd := descriptor(t, kind); fd >= 0 {
				if len(b) > 0 {
					n, _, _ := far.WriteMsgUnix(b, unix.UnixRights(fd), nil)
					b = b[n:]
				}
				unix.Close(fd)
			}
			far.Write(b)
		}()
		d, err := vfiouser.New(near, "fuzz", vfiouser.Timeout(100*time.Millisecond), vfiouser.PrivateDMA())
		if err != nil {
			return
		}
		defer d.Close()
		close(inject)
		bar, err := d.BAR(0)
		if err == nil {
			bar.Load32(0)
			bar.Load32(0)
			bar.Store32(0, 1)
			bar.ReadAt(make([]byte, 8), 0)
		}
		d.SetVectors(pci.INTx, 0, nil)
		d.Reset()
	})
}

func descriptor(t *testing.T, kind uint8) int {
	var fd int
	var err error
	switch kind % 3 {
	case 1:
		fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC)
	case 2:
		if fd, err = unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC); err == nil {
			err = unix.Ftruncate(fd, 0x2000)
		}
	default:
		return -1
	}
	if err != nil {
		t.Error(err)
		return -1
	}
	return fd
}

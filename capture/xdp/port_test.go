package xdp

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/internal/ether"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/nettest"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/ring"
)

func TestEveryFrameIsStoredAsSent(t *testing.T) {
	for _, c := range []struct {
		options string
		mtu     int
		mode    Mode
		pieces  bool
	}{
		{"", 1500, Copy, false},
		{",mode=copy", 3000, Copy, false},
		{",ring=1024,busy=50us", 9000, Copy, true},
		{",mode=generic", 1500, Generic, false},
		{",mode=generic", 9000, Generic, true},
	} {
		t.Run(fmt.Sprintf("mtu %d%s", c.mtu, c.options), func(t *testing.T) {
			pair(t, c.mtu, 1)
			r := begin(t, "xdp:ixb"+c.options)
			require.Equal(t, c.mode, r.port.Mode())
			require.Equal(t, c.pieces, r.port.sockets[0].rest != nil)
			send := sender(t)
			var sent [][]byte
			for i := range 1000 {
				size := 60 + i*7%(c.mtu+14-60+1)
				if i%10 == 0 {
					size = c.mtu + 14
				}
				if i%4 == 2 {
					size = max(60, size-8) // a packet socket sends no 802.1ad tag beyond the MTU
				}
				frame := tagged(i, size)
				send(frame)
				sent = append(sent, frame)
				if i%25 == 0 { // fewer than a veth's ring holds
					r.await(i + 1)
				}
			}
			frames, l := r.stop()
			require.Equal(t, len(sent), len(frames[0]), "%+v", l.Account)
			for i, want := range sent {
				require.Equal(t, want, frames[0][i], "frame %d", i)
			}
			require.Equal(t, "kernel (software, by the XDP program)", l.Clock.StampedBy)
			require.EqualValues(t, len(sent), l.Account.Wire)
			require.EqualValues(t, len(sent), l.Account.Received)
		})
	}
}

// A sender's stack keeps a tag beside the frame, as a device that strips tags does.
func TestTagsBesideTheFrameArePutBack(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		pair(t, mtu, 1)
		push := pushTag(t, "ixa")
		r := begin(t, "xdp:ixb,take=vlan:5")
		require.True(t, r.port.program.tags)
		send := sender(t)
		var want [][]byte
		for i := range 200 {
			inner := numbered(i, 60+i)
			if i%2 == 0 {
				inner = numbered(i, 60+i, ether.TypeVLAN)
			}
			if i%20 == 0 {
				inner = numbered(i, mtu+14-4)
			}
			tpid, vid := []uint16{ether.TypeVLAN, ether.TypeQinQ}[i/2%2], uint16(5+i%3/2)
			push(tpid, 0xe000|vid)
			send(inner)
			if vid == 5 {
				whole := append(append([]byte(nil), inner[:12]...), byte(tpid>>8), byte(tpid), 0xe0, byte(vid))
				want = append(want, append(whole, inner[12:]...))
			}
		}
		frames, _ := r.stop()
		require.Equal(t, want, frames[0])
	}
}

func TestFlowsKeepTheirQueueAndOrder(t *testing.T) {
	pair(t, 1500, 3)
	const flows, each = 40, 50
	p, err := Open("xdp:ixb,queues=2", Config{Ring: 1024})
	require.NoError(t, err)
	require.Equal(t, Generic, p.Mode(), "a veth's driver wants as many receive queues as the peer has for sending")
	require.Contains(t, p.Notices()[0], "ixb is captured in generic mode, which is slower than its driver's: attach the XDP program")
	require.NoError(t, p.Close())
	r := begin(t, "xdp:ixb")
	require.Len(t, r.listeners, 3)
	send := sender(t)
	for i := range each {
		for flow := range flows {
			frame := udp(uint16(flow), 53, 100)
			binary.BigEndian.PutUint32(frame[60:], uint32(i))
			send(frame)
			if flow == 0 {
				r.await(i*flows + 1)
			}
		}
	}
	queues, l := r.stop()
	next, of, busy := map[uint16]uint32{}, map[uint16]int{}, 0
	for q, frames := range queues {
		if len(frames) != 0 {
			busy++
		}
		require.EqualValues(t, len(frames), l.Account.Queue[q])
		for _, f := range frames {
			flow := binary.BigEndian.Uint16(f[34:])
			require.Equal(t, next[flow], binary.BigEndian.Uint32(f[60:]), "flow %d", flow)
			if next[flow]++; next[flow] == 1 {
				of[flow] = q
			}
			require.Equal(t, of[flow], q)
		}
	}
	require.Len(t, next, flows)
	for flow, n := range next {
		require.EqualValues(t, each, n, "flow %d", flow)
	}
	require.Greater(t, busy, 1)
	require.EqualValues(t, flows*each, l.Account.Wire)
}

// A listener that does not read blocks the poller: the ring fills up.
func TestLostFramesAreAccountedFor(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			pair(t, mtu, 1)
			p, err := Open("xdp:ixb,ring=64", Config{})
			require.NoError(t, err)
			e, err := capture.New(p, capture.Config{Buffer: 1 << 20, Entries: 256, StallTimeout: 100 * time.Millisecond})
			require.NoError(t, err)
			l, err := e.Stream(0).Listen("stuck", stream.Options{})
			require.NoError(t, err)
			require.NoError(t, e.Start())
			send := sender(t)
			const sent = 2000
			for i := range sent {
				send(numbered(i, mtu+14))
			}
			require.ErrorContains(t, e.Stop(), "read nothing")
			ledger, err := e.Ledger()
			require.NoError(t, err)
			require.NoError(t, ledger.Balanced(), "%+v", ledger)
			a := ledger.Account
			require.EqualValues(t, sent, a.Wire)
			require.NotZero(t, a.Missed[0].Frames+a.Missed[1].Frames)
			require.Less(t, a.Received, uint64(sent/2))
			require.NoError(t, l.Close())
			require.NoError(t, e.Close())
		})
	}
}

func TestASuperFrameIsCountedAndNotStored(t *testing.T) {
	for _, mode := range []string{"", ",mode=generic"} {
		t.Run(mode, func(t *testing.T) {
			pair(t, 1500, 1)
			r := begin(t, "xdp:ixb"+mode)
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			require.NoError(t, err)
			defer unix.Close(fd)
			require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
			require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: nettest.Link(t, "ixa").Attrs().Index}))
			// struct virtio_net_hdr: needs a checksum, TCP over IPv4, header 54, segments of 1000.
			header := []byte{1, 1, 54, 0, 0xe8, 3, 34, 0, 16, 0}
			frame := tcp(1234, 80, 54+5000)
			_, err = unix.Write(fd, append(header, frame...))
			require.NoError(t, err)
			sender(t)(udp(1, 2, 100))
			frames, l := r.stop()
			super := 0
			for _, b := range l.Account.Bad {
				require.Contains(t, b.Cause, "super-frame")
				super += int(b.Frames)
			}
			if mode == "" { // the peer splits it for a driver's program
				require.Len(t, frames[0], 5+1)
				for _, f := range frames[0][:5] {
					require.Len(t, f, 54+1000)
				}
			} else {
				require.Len(t, frames[0], 1)
				require.Equal(t, 1, super)
			}
		})
	}
}

func TestOnlyFramesAskedForAreTaken(t *testing.T) {
	pair(t, 1500, 1)
	r := begin(t, "xdp:ixb,take=tcp:80+vlan:5+ether:0x88b5")
	stack, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(htons(unix.ETH_P_ALL)))
	require.NoError(t, err)
	defer unix.Close(stack)
	require.NoError(t, unix.Bind(stack, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: nettest.Link(t, "ixb").Attrs().Index}))
	send := sender(t)
	taken := [][]byte{tcp(80, 9, 100), numbered(1, 64), numbered(2, 80, ether.TypeVLAN)}
	passed := [][]byte{udp(80, 9, 100), tcp(81, 9, 100)}
	for i := range passed {
		send(taken[i])
		send(passed[i])
	}
	send(taken[2])
	frames, l := r.stop()
	require.Equal(t, taken, frames[0])
	require.EqualValues(t, len(taken), l.Account.Wire, "passed frames are not the capture's")
	b := make([]byte, 2000)
	for _, want := range passed {
		n, err := unix.Read(stack, b)
		require.NoError(t, err)
		require.Equal(t, want, b[:n])
	}
	_, err = unix.Read(stack, b)
	require.ErrorIs(t, err, unix.EAGAIN)
}

func TestAnInterfaceHasOneCapture(t *testing.T) {
	pair(t, 1500, 1)
	r := begin(t, "xdp:ixb")
	for _, mode := range []string{"", ",mode=copy", ",mode=generic"} {
		_, err := Open("xdp:ixb"+mode, Config{Ring: 1024})
		require.ErrorContains(t, err, "an XDP program is attached already")
	}
	send := sender(t)
	send(udp(1, 2, 100))
	frames, _ := r.stop()
	require.Len(t, frames[0], 1, "the first capture goes on")
	begin(t, "xdp:ixb").stop()
	_, err := Open("xdp:ixb,mode=zerocopy", Config{Ring: 1024})
	require.ErrorContains(t, err, "no zero copy")
	_, err = Open("xdp:none", Config{Ring: 1024})
	require.ErrorContains(t, err, "no such interface")
}

func TestAnInterfaceIsRestored(t *testing.T) {
	pair(t, 1500, 2)
	require.NoError(t, netlink.LinkDel(nettest.Link(t, "ixa")))
	a := netlink.NewLinkAttrs()
	a.Name, a.NumRxQueues = "ixb", 4
	require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "ixa"}))
	require.NoError(t, netlink.LinkSetUp(nettest.Link(t, "ixb")))
	p, err := Open("xdp:ixb,queues=1,mode=generic", Config{Ring: 1024})
	require.NoError(t, err)
	require.Len(t, p.Sources(), 1)
	n, most, err := p.netif.ReceiveQueues()
	require.NoError(t, err)
	require.Equal(t, []int{1, 4}, []int{n, most})
	require.Len(t, p.Notices(), 2, "rxvlan, tags of a veth")
	require.NoError(t, p.Close())
	p, err = Open("xdp:ixb", Config{Ring: 1024})
	require.NoError(t, err)
	require.Len(t, p.Sources(), 4)
	require.Empty(t, p.Notices())
	require.NotZero(t, nettest.Link(t, "ixb").Attrs().Promisc)
	require.NoError(t, p.Close())
	require.Zero(t, nettest.Link(t, "ixb").Attrs().Promisc)
	require.False(t, nettest.Link(t, "ixb").Attrs().Xdp.Attached)
}

func TestAnInterfaceThatIsDownOrRemoved(t *testing.T) {
	pair(t, 1500, 1)
	r := begin(t, "xdp:ixb")
	send := sender(t)
	for i := range 100 {
		send(numbered(i, 64))
	}
	require.NoError(t, netlink.LinkSetDown(nettest.Link(t, "ixb")))
	require.Eventually(t, func() bool { a, _ := r.port.Account(); return a.LinkDowns == 1 }, testtime.Deadline, time.Millisecond)
	require.NoError(t, netlink.LinkSetUp(nettest.Link(t, "ixb")))
	nettest.WaitUp(t)
	for i := range 100 {
		send(numbered(100+i, 64))
	}
	require.NoError(t, netlink.LinkDel(nettest.Link(t, "ixb")))
	select {
	case <-r.port.Gone():
	case <-time.After(testtime.Deadline):
		require.Fail(t, "the removal was not noticed")
	}
	require.EqualError(t, r.port.GoneErr(), "interface ixb has been removed")
	require.ErrorContains(t, r.engine.Wait(t.Context()), "interface ixb has been removed")
	frames, l := r.stop()
	require.Len(t, frames[0], 200)
	require.EqualValues(t, 200, l.Account.Received)
	require.NotZero(t, l.Account.LinkDowns)
}

// Frames that are on their way when a capture stops are captured or passed, none is half
// accounted for.
func TestTheAccountIsExactWhenACaptureStopsUnderTraffic(t *testing.T) {
	pair(t, 1500, 1)
	send := sender(t)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		frame := numbered(0, 60)
		for {
			select {
			case <-quit:
				return
			default:
				send(frame)
			}
		}
	}()
	for range 5 {
		r := begin(t, "xdp:ixb,ring=512")
		for {
			a, err := r.port.Account()
			require.NoError(t, err)
			if a.Received > 2000 {
				break
			}
			runtime.Gosched()
		}
		frames, l := r.stop()
		require.EqualValues(t, l.Account.Received, len(frames[0]))
	}
	close(quit)
	<-done
}

func TestReceptionDoesNotAllocate(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		pair(t, mtu, 1)
		p, err := Open("xdp:ixb,ring=256", Config{})
		require.NoError(t, err)
		require.NoError(t, p.Start())
		require.NoError(t, p.netif.Close()) // its watcher allocates
		send := sender(t)
		frame := numbered(1, mtu+14)
		frames := make([]ring.Frame, 64)
		src := p.Sources()[0].(capture.Sleeper)
		got := 0
		require.Zero(t, testing.AllocsPerRun(100, func() {
			for range 10 {
				send(frame)
			}
			src.Sleep(time.Second)
			for n := -1; n != 0; got += n {
				n = src.Poll(frames)
				src.Release()
			}
			src.Wake()
			src.Sleep(time.Second)
		}))
		require.Equal(t, 10*101, got)
		require.NoError(t, p.Close())
	}
}

func TestMissingRightsAreNamed(t *testing.T) {
	pair(t, 1500, 1)
	for _, c := range []struct {
		without []uint
		names   string
	}{
		{[]uint{unix.CAP_NET_RAW, unix.CAP_BPF}, "open AF_XDP socket: operation not permitted: CAP_NET_RAW and CAP_BPF missing. Run as root, or setcap cap_net_raw,cap_bpf+ep PROGRAM"},
		{[]uint{unix.CAP_NET_RAW}, "open AF_XDP socket: operation not permitted: CAP_NET_RAW missing. Run as root, or setcap cap_net_raw+ep PROGRAM"},
		{[]uint{unix.CAP_NET_ADMIN}, "CAP_NET_ADMIN missing. Run as root, or setcap cap_net_admin+ep PROGRAM"},
		{[]uint{unix.CAP_BPF}, "CAP_BPF missing. Run as root, or setcap cap_bpf+ep PROGRAM"},
	} {
		done := make(chan error)
		home, err := netns.Get()
		require.NoError(t, err)
		go func() {
			runtime.LockOSThread() // not unlocked: the thread ends without its rights
			if err := netns.Set(home); err != nil {
				done <- err
				return
			}
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			err := unix.Capget(&header, &data[0])
			for _, drop := range append(c.without, unix.CAP_SYS_ADMIN) { // which stands in for CAP_BPF
				data[drop/32].Effective &^= 1 << (drop % 32)
			}
			if err == nil {
				err = unix.Capset(&header, &data[0])
			}
			if err == nil {
				_, err = Open("xdp:ixb", Config{Ring: 1024})
			}
			done <- err
		}()
		require.ErrorContains(t, <-done, c.names)
		home.Close()
	}
}

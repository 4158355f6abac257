package packet

import (
	"encoding/binary"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
)

// FuzzParse checks that what Parse accepts is within the limits.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"packet:eth0", "packet:eth0,sockets=4,fanout=cpu,blocks=8,timeout=2,outgoing,offloads=off,promisc=off", "packet:,", "packet:eth0,sockets=0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, err := Parse(name)
		if err != nil {
			return
		}
		require.NotEmpty(t, s.Interface)
		require.Less(t, len(s.Interface), unix.IFNAMSIZ)
		require.True(t, s.Sockets >= 1 && s.Sockets <= maxSockets && s.Blocks >= 2 && s.Blocks <= maxBlocks && s.Timeout >= 1 && s.Timeout <= maxTimeout)
	})
}

// pair makes a namespace of the calling thread's own with the veth pair ixa, ixb. The
// thread ends with the test's goroutine.
func pair(t *testing.T, mtu int) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root: run the tests with sudo")
	}
	runtime.LockOSThread()
	ns, err := netns.New()
	require.NoError(t, err)
	t.Cleanup(func() { ns.Close() })
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = "ixa", mtu
	require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "ixb", PeerMTU: uint32(mtu)}))
	for _, name := range []string{"ixa", "ixb"} {
		require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0))
		l, err := netlink.LinkByName(name)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(l))
	}
}

// sender returns a function that sends a frame through an interface.
func sender(t *testing.T, name string) func(frame []byte) {
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}))
	return func(frame []byte) {
		_, err := unix.Write(fd, frame)
		require.NoError(t, err)
	}
}

// numbered is a frame of so many bytes that begins with tags and carries a number.
func numbered(n, size int, tags ...uint16) []byte {
	f := make([]byte, size)
	copy(f, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02")
	at := addresses
	for i, tpid := range tags {
		binary.BigEndian.PutUint16(f[at:], tpid)
		binary.BigEndian.PutUint16(f[at+2:], uint16(5+i))
		at += tagBytes
	}
	binary.BigEndian.PutUint16(f[at:], 0x88b5)
	binary.BigEndian.PutUint32(f[at+2:], uint32(n))
	return f
}

func TestEveryFrameIsStoredAsSent(t *testing.T) {
	pair(t, 9000)
	p, err := Open("packet:ixb,blocks=4")
	require.NoError(t, err)
	e, err := capture.New(p, capture.Config{Buffer: 64 << 20})
	require.NoError(t, err)
	l, err := e.Stream(0).Listen("test", stream.Options{})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	send := sender(t, "ixa")
	var sent [][]byte
	for i := range 3000 {
		frame := numbered(i, 60+i%1400)
		switch i % 5 {
		case 1:
			frame = numbered(i, 64, typeVLAN)
		case 2:
			frame = numbered(i, 68, 0x88a8, typeVLAN)
		case 3:
			frame = numbered(i, 9014)
		}
		send(frame)
		sent = append(sent, frame)
	}
	require.NoError(t, e.Stop())
	n := 0
	for packet := range l.Packets(t.Context()) {
		require.Equal(t, sent[n], packet.Data, "frame %d", n)
		require.WithinDuration(t, time.Now(), packet.Time(), time.Minute)
		n++
	}
	require.Equal(t, len(sent), n)
	ledger, err := e.Ledger()
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	require.EqualValues(t, len(sent), ledger.Account.Wire)
	require.NoError(t, l.Close())
	require.NoError(t, e.Close())
}

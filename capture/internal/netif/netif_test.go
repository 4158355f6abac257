package netif

import (
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/nettest"
	"github.com/ixcap/ixcap/internal/testtime"
)

// veth makes a namespace with the veth pair ixa, ixb of four queues.
func veth(t *testing.T) {
	t.Helper()
	nettest.Pair(t, nettest.Veth{Queues: 4})
}

// The namespace of an interface need not be that of the thread that asks.
func TestStatisticsAreThoseOfTheInterfacesNamespace(t *testing.T) {
	veth(t)
	i, err := Open("ixb")
	require.NoError(t, err)
	of := func() (all []Statistic, err error) {
		done := make(chan struct{})
		go func() { // not on the thread of the test, which is locked
			defer close(done)
			all, err = i.Statistics()
		}()
		<-done
		return all, err
	}
	here, err := Statistics("ixb")
	require.NoError(t, err)
	there, err := of()
	require.NoError(t, err)
	require.Len(t, there, len(here))
	require.Equal(t, "peer_ifindex", there[0].Name)
	require.NoError(t, i.Close())
	_, err = of()
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestCloseRestoresTheInterface(t *testing.T) {
	veth(t)
	i, err := Open("ixb")
	require.NoError(t, err)
	require.Equal(t, "veth", i.Kind)
	require.Equal(t, 1500, i.MTU)
	require.Empty(t, i.Bus())
	require.NoError(t, i.SetReceiveQueues(4), "no change")
	require.NoError(t, i.SetReceiveQueues(2))
	require.ErrorContains(t, i.SetReceiveQueues(5), "5 receive queues: the interface has at most 4. `ethtool -l ixb` shows them")
	require.NoError(t, i.Promiscuous())
	was, err := i.SwitchOff(GRO)
	require.NoError(t, err)
	on, err := i.SwitchOff(RXVLAN)
	require.NoError(t, err)
	require.True(t, on)
	on, err = i.SwitchOff(RXVLAN)
	require.NoError(t, err)
	require.False(t, on, "off already")
	require.ErrorContains(t, i.SetSymmetric(), "set a symmetric RSS key: ")

	other, err := Open("ixb")
	require.NoError(t, err)
	defer other.Close()
	queues := func() int {
		n, most, err := other.ReceiveQueues()
		require.NoError(t, err)
		require.Equal(t, 4, most)
		return n
	}
	require.Equal(t, 2, queues())
	require.NoError(t, i.Close())
	require.Equal(t, 4, queues())
	again, err := other.SwitchOff(GRO)
	require.NoError(t, err)
	require.Equal(t, was, again)
	on, err = other.SwitchOff(RXVLAN)
	require.NoError(t, err)
	require.True(t, on)
	require.NoError(t, i.Close(), "a second time")
}

func TestFeaturesOfXDP(t *testing.T) {
	veth(t)
	i, err := Open("ixb")
	require.NoError(t, err)
	defer i.Close()
	x, err := i.XDP()
	if err != nil {
		t.Skipf("%v. It needs Linux 6.8", err)
	}
	require.Equal(t, XDP{Redirect: true, Pieces: true, Tag: true, Stamp: true}, x)
}

func TestARemovedInterfaceIsGone(t *testing.T) {
	veth(t)
	_, err := Open("ixc")
	require.EqualError(t, err, "interface \"ixc\": no such interface in this network namespace. `ip link` lists them")
	i, err := Open("ixb")
	require.NoError(t, err)
	_, err = i.SwitchOff(RXVLAN)
	require.NoError(t, err)
	i.Begin()
	require.NoError(t, i.GoneErr())
	l, err := netlink.LinkByName("ixb")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkDel(l))
	select {
	case <-i.Gone():
	case <-time.After(testtime.Deadline):
		require.Fail(t, "the removal was not noticed")
	}
	require.EqualError(t, i.GoneErr(), "interface ixb has been removed")
	require.Equal(t, Counters{LinkDowns: 1}, i.Counters())
	require.NoError(t, i.Close(), "there is nothing to restore")
}

// The kernel tells a change when it is made, and none is lost, however short it is.
func TestChangesOfTheLinkAreCounted(t *testing.T) {
	const downs = 30
	veth(t)
	i, err := Open("ixb")
	require.NoError(t, err)
	defer i.Close()
	i.Begin()
	l, err := netlink.LinkByName("ixb")
	require.NoError(t, err)
	for range downs {
		require.NoError(t, netlink.LinkSetDown(l))
		require.NoError(t, netlink.LinkSetUp(l))
	}
	require.Equal(t, Counters{LinkDowns: downs}, i.Counters())
	i.Begin()
	require.Zero(t, i.Counters())
}

// Changes that the socket had no room for are counted, too: by the kernel.
func TestChangesAreCountedAfterAnOverflow(t *testing.T) {
	const downs = 100
	veth(t)
	i, err := Open("ixb")
	require.NoError(t, err)
	defer i.Close()
	i.Begin()
	i.mu.Lock() // no goroutine reads
	require.NoError(t, unix.SetsockoptInt(i.links.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
	l, err := netlink.LinkByName("ixb")
	require.NoError(t, err)
	for range downs {
		require.NoError(t, netlink.LinkSetDown(l))
		require.NoError(t, netlink.LinkSetUp(l))
	}
	require.ErrorIs(t, i.follow(), unix.ENOBUFS)
	require.Less(t, i.downs, uint64(downs))
	i.mu.Unlock()
	require.Equal(t, Counters{LinkDowns: downs}, i.Counters())
	require.NoError(t, netlink.LinkDel(l))
	select {
	case <-i.Gone():
	case <-time.After(testtime.Deadline):
		require.Fail(t, "the removal was not noticed")
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, unix.SizeofIfInfomsg+8))
	f.Add(append(make([]byte, unix.SizeofIfInfomsg), 7, 0, 0, 0, 0, 0, 0)) // without padding
	f.Add(append(make([]byte, unix.SizeofIfInfomsg), 8, 0, unix.IFLA_CARRIER_DOWN_COUNT, 0, 1, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		index, l, err := parseLink(b)
		if len(b) < unix.SizeofIfInfomsg {
			require.Error(t, err)
		}
		if err != nil {
			require.Zero(t, index)
		} else if len(b) < unix.SizeofIfInfomsg+statsMissed {
			require.Zero(t, l.missed)
		}
	})
}

func TestNeedsNamesTheMissingRights(t *testing.T) {
	eperm := os.NewSyscallError("bpf", unix.EPERM)
	all := []int{unix.CAP_BPF, unix.CAP_NET_ADMIN}
	require.EqualError(t, lacking(eperm, 0, all), "bpf: operation not permitted: CAP_BPF and CAP_NET_ADMIN missing. Run as root, or setcap cap_bpf,cap_net_admin+ep PROGRAM")
	require.EqualError(t, lacking(eperm, 1<<unix.CAP_BPF, all), "bpf: operation not permitted: CAP_NET_ADMIN missing. Run as root, or setcap cap_net_admin+ep PROGRAM")
	require.ErrorContains(t, lacking(eperm, 1<<unix.CAP_BPF|1<<unix.CAP_NET_ADMIN, all), "user namespace")
	other := errors.New("other")
	require.Equal(t, other, Needs(other, all...))
}

// toeplitz is the hash of Microsoft's RSS specification.
func toeplitz(key, input []byte) (h uint32) {
	bit := func(n int) uint32 { return uint32(key[n/8]>>(7-n%8)) & 1 }
	for i := range 8 * len(input) {
		if input[i/8]>>(7-i%8)&1 == 0 {
			continue
		}
		for j := range 32 {
			h ^= bit(i+j) << (31 - j)
		}
	}
	return h
}

func TestTheSymmetricKeyHashesBothDirectionsAlike(t *testing.T) {
	key := symmetric(40)
	there := []byte{192, 0, 2, 1, 198, 51, 100, 7, 0x12, 0x34, 0, 80}
	back := []byte{198, 51, 100, 7, 192, 0, 2, 1, 0, 80, 0x12, 0x34}
	require.Equal(t, toeplitz(key, there), toeplitz(key, back))
	there[3]++
	require.NotEqual(t, toeplitz(key, there), toeplitz(key, back))
	// Example of the specification, for the hash above.
	microsoft := []byte{
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
		0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	}
	require.Equal(t, uint32(0x51ccc178), toeplitz(microsoft, []byte{66, 9, 149, 187, 161, 142, 100, 80, 2794 >> 8, 2794 & 255, 1766 >> 8, 1766 & 255}))
	require.Len(t, symmetric(41), 41)
}

func TestStatisticsAreThoseOfEthtool(t *testing.T) {
	tool, err := exec.LookPath("ethtool")
	if err != nil {
		t.Skip("ethtool is missing: apt-get install ethtool")
	}
	veth(t)
	out, err := exec.Command(tool, "-S", "ixb").Output()
	require.NoError(t, err)
	list, err := Statistics("ixb")
	require.NoError(t, err)
	require.Greater(t, len(list), 4)
	for _, s := range list {
		require.Regexp(t, `(?m)^ +`+regexp.QuoteMeta(s.Name)+`: `, string(out))
	}
	require.Equal(t, strings.Count(string(out), "\n")-1, len(list), "a line each below a heading")
	_, err = Statistics("lo")
	require.ErrorContains(t, err, "lo")
	_, err = Statistics("ixnone")
	require.ErrorIs(t, err, unix.ENODEV)
}

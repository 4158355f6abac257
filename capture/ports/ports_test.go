package ports_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/nettest"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/driver"
	_ "github.com/ixcap/ixcap/sim"
)

// pair makes a namespace with the veth pair ixa, ixb, in which XDP programs can be loaded.
func pair(t *testing.T) {
	t.Helper()
	nettest.Need(t, unix.CAP_BPF)
	nettest.Pair(t, nettest.Veth{})
}

// open opens a port and returns its name and the notices.
func open(t *testing.T, name string) (opened string, notices []string) {
	p, err := ports.Open(name, ports.Config{OnNotice: func(text string) { notices = append(notices, text) }})
	require.NoError(t, err)
	opened = p.Name()
	require.NoError(t, p.Close())
	return opened, notices
}

func TestAnInterfaceIsOpenedInTheBestWayThatWorks(t *testing.T) {
	pair(t)
	name, _ := open(t, "ixb")
	require.Equal(t, "xdp:ixb", name)

	t.Run("down", func(t *testing.T) {
		pair(t)
		require.NoError(t, netlink.LinkSetDown(nettest.Link(t, "ixb")))
		for _, name := range []string{"xdp:ixb", "packet:ixb"} {
			_, notices := open(t, name)
			require.Equal(t, []string{"ixb is down and receives nothing until `ip link set ixb up`."}, notices)
		}
	})
	t.Run("with an address", func(t *testing.T) {
		pair(t)
		a, err := netlink.ParseAddr("192.0.2.1/24")
		require.NoError(t, err)
		require.NoError(t, netlink.AddrAdd(nettest.Link(t, "ixb"), a))
		name, notices := open(t, "ixb")
		require.Equal(t, "packet:ixb", name)
		require.Equal(t, []string{"ixb has the address 192.0.2.1, and AF_XDP takes frames from the host's stack: packet sockets capture it. Name xdp:ixb to take the frames."}, notices)
	})
	t.Run("in a bridge", func(t *testing.T) {
		pair(t)
		b := netlink.NewLinkAttrs()
		b.Name = "ixbr"
		require.NoError(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: b}))
		require.NoError(t, netlink.LinkSetMaster(nettest.Link(t, "ixb"), nettest.Link(t, "ixbr")))
		name, notices := open(t, "ixb")
		require.Equal(t, "packet:ixb", name)
		require.Len(t, notices, 1)
		require.Contains(t, notices[0], "ixb belongs to a bridge or bond")
	})
	t.Run("below another interface", func(t *testing.T) {
		pair(t)
		a := netlink.NewLinkAttrs()
		a.Name, a.ParentIndex = "ixtop", nettest.Link(t, "ixb").Attrs().Index
		require.NoError(t, netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE}))
		name, notices := open(t, "ixb")
		require.Equal(t, "packet:ixb", name)
		require.Len(t, notices, 1)
		require.Contains(t, notices[0], "ixb has the macvlan interface ixtop on top, and AF_XDP takes frames from the host's stack")
	})
	t.Run("with settings of an 82599", func(t *testing.T) {
		pair(t)
		_, err := ports.Open("ixb", ports.Config{Config: nic.Config{Speed: 1000}})
		require.EqualError(t, err, "open device ixb: speed 1000 Mb/s: only an 82599 is set to a speed. Leave it out, and use ethtool -s")
	})
	t.Run("without the right to load a program", func(t *testing.T) {
		pair(t)
		drop(t, unix.CAP_BPF, unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN)
		name, notices := open(t, "ixb")
		require.Equal(t, "packet:ixb", name)
		require.Len(t, notices, 1)
		require.Contains(t, notices[0], "packet sockets capture ixb, because AF_XDP does not work: open device xdp:ixb: ")
		require.Contains(t, notices[0], "CAP_")
	})
	t.Run("without any right", func(t *testing.T) {
		pair(t)
		drop(t, unix.CAP_BPF, unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
		_, err := ports.Open("ixb", ports.Config{})
		require.ErrorContains(t, err, "open device packet:ixb: open packet socket: operation not permitted: CAP_NET_RAW missing")
		require.ErrorContains(t, err, "open device xdp:ixb: ")
	})
}

// drop takes capabilities from the thread, which ends with the test's goroutine.
func drop(t *testing.T, capabilities ...int) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &data[0]))
	for _, c := range capabilities {
		data[c/32].Effective &^= 1 << (c % 32)
	}
	require.NoError(t, unix.Capset(&header, &data[0]))
}

func TestASchemeDecides(t *testing.T) {
	pair(t)
	for _, name := range []string{"packet:ixb,sockets=2,blocks=2", "xdp:ixb,mode=copy", "sim:gen,count=1"} {
		require.NoError(t, ports.CheckName(name))
		opened, _ := open(t, name)
		require.Equal(t, name, opened)
	}
	e, p, err := ports.NewEngine("packet:ixb", ports.Config{Config: nic.Config{Queues: 3}}, capture.Config{Buffer: 4 << 20})
	require.NoError(t, err)
	require.Len(t, p.Sources(), 3)
	require.NoError(t, e.Close())
}

func TestErrorsOfNames(t *testing.T) {
	pair(t)
	for name, want := range map[string]string{
		"nosuch":           "nosuch",
		"packet:nosuch":    `interface "nosuch": no such interface`,
		"xdp:nosuch":       `interface "nosuch": no such interface`,
		"xdp:ixb,mode=x":   "mode=x",
		"packet:ixb,x":     "x: unknown",
		"smoke-signal:ixb": "Any interface: xdp:IFACE or packet:IFACE",
		"":                 "",
	} {
		require.ErrorContains(t, ports.CheckName(name), want, name)
		_, err := ports.Open(name, ports.Config{})
		require.ErrorContains(t, err, want, name)
	}
	for _, name := range []string{"xdp:ixb", "packet:ixb"} {
		_, err := ports.Open(name, ports.Config{Config: nic.Config{Speed: 1000}})
		require.ErrorContains(t, err, "only an 82599 is set to a speed")
		_, err = ports.Open(name, ports.Config{Config: nic.Config{RSS: driver.RSS{Key: &driver.SymmetricKey}}})
		require.ErrorContains(t, err, "RSS: only an 82599")
	}
	require.NoError(t, ports.CheckName("ixb"))
}

func TestCapabilitiesFollowTheName(t *testing.T) {
	for name, want := range map[string]ports.Capabilities{
		"eth0":                 {Name: "the 82599", MaxQueues: 16, Speeds: []int{10000, 1000}},
		"0000:03:00.0":         {Name: "the 82599", MaxQueues: 16, Queues: 1, Speeds: []int{10000, 1000}},
		"xdp:eth0":             {Name: "an xdp port", MaxQueues: 256},
		"xdp:eth0,queues=4":    {Name: "an xdp port", MaxQueues: 256, Queues: 4},
		"packet:eth0":          {Name: "a packet port", MaxQueues: 64, Queues: 1},
		"packet:e0,sockets=12": {Name: "a packet port", MaxQueues: 64, Queues: 12},
	} {
		if want.Name == "the 82599" {
			want.MaxReason = ports.CapabilitiesOf("eth0").MaxReason
			require.NotEmpty(t, want.MaxReason)
		}
		require.Equal(t, want, ports.CapabilitiesOf(name), name)
	}
}

func TestInspectTellsWhatACaptureWouldFind(t *testing.T) {
	pair(t)
	for _, name := range []string{"ixb", "xdp:ixb,mode=copy", "packet:ixb"} {
		i, sockets, err := ports.Inspect(name)
		require.NoError(t, err)
		require.True(t, sockets)
		want := name
		if name == "ixb" {
			want = "xdp:ixb"
		}
		require.Equal(t, want, i.Port)
		require.Equal(t, "ixb", i.Name)
		require.Equal(t, "veth", i.Kind)
		require.Positive(t, i.Queues)
		require.False(t, i.GRO || i.LRO, "off for a veth")
		require.Empty(t, i.Missing)
	}
	_, sockets, err := ports.Inspect("sim:gen")
	require.NoError(t, err)
	require.False(t, sockets)
	_, _, err = ports.Inspect("nosuch")
	require.ErrorContains(t, err, "no such interface")

	drop(t, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	i, _, err := ports.Inspect("ixb")
	require.NoError(t, err)
	require.Equal(t, "packet:ixb", i.Port)
	require.Equal(t, []string{"CAP_NET_RAW"}, i.Missing)
	require.Equal(t, []string{"CAP_NET_RAW", "CAP_BPF", "CAP_NET_ADMIN"}, i.MissingXDP)
	i, _, err = ports.Inspect("xdp:ixb")
	require.NoError(t, err)
	require.Equal(t, []string{"CAP_NET_RAW", "CAP_BPF", "CAP_NET_ADMIN"}, i.Missing)
}

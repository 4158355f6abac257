package doctor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// interfaceHost is a healthy machine with the interface eth5 of another card.
func interfaceHost(t *testing.T) *fixture {
	p := healthy(t)
	const dir = "sys/devices/other/net/eth5"
	p.Write(dir+"/carrier", "1\n")
	p.Write(dir+"/speed", "25000\n")
	p.Write(dir+"/flags", "0x1003\n")
	p.Write(dir+"/device/numa_node", "1\n")
	p.Write("sys/bus/pci/drivers/ice/module", "")
	p.Link(dir+"/device/driver", "sys/bus/pci/drivers/ice")
	p.Link("sys/class/net/eth5", dir)
	return p
}

func healthyInterface(port string) Interface {
	return Interface{Port: port, Name: "eth5", Kind: "device", Queues: 4, MaxQueues: 8, Ring: 4096, MaxRing: 4096, XDPKnown: true, Native: true, ZeroCopy: true}
}

func (p *fixture) sockets(i Interface) Report {
	e := p.examiner()
	e.spec = spec(i.Port)
	return e.sockets(i)
}

func TestAHealthyInterfaceIsReady(t *testing.T) {
	p := interfaceHost(t)
	for port, want := range map[string][]string{
		"packet:eth5": {"kernel", "interface", "rights", "offloads", "receive queues", "receive ring", "isolated cores", "poller cores"},
		"xdp:eth5":    {"kernel", "interface", "rights", "host traffic", "XDP", "memlock", "offloads", "receive queues", "receive ring", "isolated cores", "poller cores"},
	} {
		r := p.sockets(healthyInterface(port))
		require.True(t, r.Ready())
		require.Equal(t, port, r.Device)
		require.Equal(t, []int{14, 15}, r.Cores)
		for i, name := range want {
			require.Equal(t, name, r.Checks[i].Name)
		}
		for _, c := range r.Checks {
			require.Equal(t, OK, c.State, c.Name)
			require.Empty(t, c.Why+c.Fix, c.Name)
		}
		require.Equal(t, "eth5 (driver ice), up, 25000 Mb/s", r.Checks[1].Found)
	}
}

// Each case changes one thing of the healthy interface; exactly one check reports it.
func TestEachObstacleOfAnInterfaceFailsItsCheck(t *testing.T) {
	for name, c := range map[string]struct {
		port   string
		change func(p *fixture, i *Interface)
		want   Check
	}{
		"down": {"packet:eth5", func(p *fixture, _ *Interface) { p.Write("sys/devices/other/net/eth5/flags", "0x1002\n") },
			Check{"interface", Failed, "eth5 is down", "an interface that is down receives nothing", "sudo ip link set eth5 up"}},
		"no carrier": {"packet:eth5", func(p *fixture, _ *Interface) { p.Write("sys/devices/other/net/eth5/carrier", "0\n") },
			Check{"interface", Warning, "eth5 is up without carrier", "nothing arrives until the link is there", "connect the cable, or bring the other end up"}},
		"rights": {"xdp:eth5", func(_ *fixture, i *Interface) { i.Missing = []string{"CAP_NET_RAW", "CAP_BPF"} },
			Check{"rights", Failed, "this user lacks CAP_NET_RAW, CAP_BPF", "the kernel opens the sockets only with these capabilities",
				"sudo setcap cap_net_raw,cap_bpf+ep $(which hpcapdd)    # or run it as root"}},
		"rights of xdp": {"packet:eth5", func(_ *fixture, i *Interface) { i.MissingXDP = []string{"CAP_BPF", "CAP_NET_ADMIN"} },
			Check{"rights", Warning, "this user has the capabilities that packet:eth5 needs; xdp:eth5, which is tried first, needs CAP_BPF, CAP_NET_ADMIN",
				"AF_XDP takes frames before the kernel makes packets of them", "sudo setcap cap_bpf,cap_net_admin+ep $(which hpcapdd)    # or run it as root"}},
		"rights of both": {"packet:eth5", func(_ *fixture, i *Interface) {
			i.Missing, i.MissingXDP = []string{"CAP_NET_RAW"}, []string{"CAP_NET_RAW", "CAP_BPF"}
		},
			Check{"rights", Failed, "this user lacks CAP_NET_RAW; xdp:eth5, which is tried first, needs CAP_NET_RAW, CAP_BPF",
				"the kernel opens the sockets only with these capabilities", "sudo setcap cap_net_raw,cap_bpf+ep $(which hpcapdd)    # or run it as root"}},
		"host": {"xdp:eth5", func(p *fixture, _ *Interface) { p.used["eth5"] = []string{"address 192.0.2.1/24"} },
			Check{"host traffic", Warning, "eth5 has address 192.0.2.1/24", "frames that an xdp port captures do not reach the host: connections over this interface break",
				"hpcapdd -i packet:eth5    # or limit the capture: xdp:eth5,take=MATCH (docs/PORTS.md)"}},
		"generic": {"xdp:eth5", func(_ *fixture, i *Interface) { i.Native, i.ZeroCopy = false, false },
			Check{"XDP", Warning, "generic mode: the driver runs no XDP programs", "the kernel then makes a socket buffer of each frame and copies it: packet sockets are not slower",
				"hpcapdd -i packet:eth5"}},
		"occupied": {"xdp:eth5", func(_ *fixture, i *Interface) { i.Occupied = true },
			Check{"XDP", Failed, "an XDP program is attached, perhaps of a running capture", "an interface has room for one XDP program",
				"end its owner, which `bpftool net` and `bpftool link` name, or sudo ip link set dev eth5 xdp off\nhpcapdd -i packet:eth5    # works beside it"}},
		"old kernel": {"xdp:eth5", func(_ *fixture, i *Interface) { i.XDPKnown = false },
			Check{"XDP", Unknown, "the kernel does not tell what the driver can do (Linux 6.3 does)", "", ""}},
		"gro": {"packet:eth5", func(_ *fixture, i *Interface) { i.GRO = true },
			Check{"offloads", Warning, "gro on: frames of a flow are joined before they are captured", "a packet port splits them again, but they share a stamp, and their IPv4 identifications are assumed",
				"sudo ethtool -K eth5 gro off    # or during a capture: packet:eth5,offloads=off"}},
		"lro": {"xdp:eth5", func(_ *fixture, i *Interface) { i.GRO, i.LRO = true, true },
			Check{"offloads", Warning, "lro on: frames of a flow are joined before they are captured", "an xdp port refuses what is longer than the MTU", "sudo ethtool -K eth5 lro off"}},
		"ring": {"packet:eth5", func(_ *fixture, i *Interface) { i.Ring = 512 },
			Check{"receive ring", Warning, "512 of at most 4096 descriptors", "the device drops frames (rx_missed_errors) while the kernel does not empty its ring", "sudo ethtool -G eth5 rx 4096"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, i := interfaceHost(t), healthyInterface(c.port)
			c.change(p, &i)
			for _, got := range p.sockets(i).Checks {
				if got.Name == c.want.Name {
					require.Equal(t, c.want, got)
				} else {
					require.Equal(t, OK, got.State, got.Name)
				}
			}
		})
	}
}

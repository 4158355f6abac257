//go:build vmtest

package vmtest

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
)

// vfMAC is the address of virtual function k.
func vfMAC(k int) net.HardwareAddr { return net.HardwareAddr{0x02, 0x1b, 0x21, 0, 1, byte(k)} }

// ixgbevf is a VM with virtual functions of a port that this process drives: nic0 in
// namespace a, nic1 in b.
type ixgbevf struct {
	vm   *vm
	peer *peer
	dev  pci.Device
	port *driver.Port
}

// TestIxgbevf tests the model's virtual functions, and the port that offers them, with
// Linux's driver.
func TestIxgbevf(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"6.1", "7.2"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, 0, peerAddress+"/24")
			v := boot(t, machine{Kernel: kernel, NICs: []nic{{Wire: "packet=" + p.Wire, VFs: 2}}})
			x := &ixgbevf{vm: v, peer: p, dev: openDevice(t, v)}
			x.open(t, "")
			if !step(t, "probe, mailbox and link", x.probes) || !step(t, "ping the peer and the other function", x.pings) {
				t.FailNow()
			}
			step(t, "TCP to and from the peer, checksums", x.tcp)
			step(t, "VLAN", x.vlan)
			step(t, "reset by the port", x.reset)
			step(t, "interface down and up", x.upDown)
			step(t, "no warnings, all frames counted", x.clean)
			for _, version := range []string{"1.4", "1.3", "1.2", "1.1", "1.0"} {
				step(t, "mailbox version "+version, func(t *testing.T) { x.version(t, version) })
			}
			step(t, "port closed and opened under ixgbevf", x.portReset)
		})
	}
}

// openDevice opens the device of the port behind the VM's first functions.
func openDevice(t *testing.T, v *vm) pci.Device {
	t.Helper()
	dev, err := pci.Open("vfio-user:" + v.models[0].sockets[0])
	must(t, err)
	t.Cleanup(func() { _ = dev.Close() })
	return dev
}

// openPort drives that port.
func openPort(t *testing.T, dev pci.Device, cfg driver.Config) *driver.Port {
	t.Helper()
	cfg.RingSize = 256
	p, err := driver.Open(dev, cfg)
	must(t, err)
	t.Cleanup(func() { _ = p.Close() })
	must(t, p.Start())
	return p
}

// open drives the port, which offers messages of the mailbox up to a version.
func (x *ixgbevf) open(t *testing.T, version string) {
	t.Helper()
	if x.port != nil {
		must(t, x.port.Close())
	}
	x.port = openPort(t, x.dev, driver.Config{VFs: []driver.VF{{MAC: vfMAC(0)}, {MAC: vfMAC(1)}}, VFMailbox: version})
}

// joinFunctions loads ixgbevf and puts the first n functions into namespaces of their
// own, with addresses from vmAddress on.
func joinFunctions(t *testing.T, v *vm, n int) {
	t.Helper()
	v.run(t, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 && modprobe ixgbevf")
	for k := range n {
		ns := string(rune('a' + k))
		v.run(t, fmt.Sprintf("ip netns add %[1]s && ip link set nic%[2]d netns %[1]s", ns, k))
		in := "ip netns exec " + ns + " "
		v.run(t, in+"sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
		v.run(t, fmt.Sprintf("%[1]sip addr add 192.0.2.%[2]d/24 dev nic%[3]d && %[1]sip link set nic%[3]d up", in, k+2, k))
	}
	for k := range n {
		waitCarrier(t, v, k)
	}
}

// waitCarrier waits for the link of function k in its namespace.
func waitCarrier(t *testing.T, v *vm, k int) {
	t.Helper()
	carrier := fmt.Sprintf("ip netns exec %c cat /sys/class/net/nic%d/carrier", 'a'+k, k)
	for end := time.Now().Add(linkDeadline); ; time.Sleep(200 * time.Millisecond) {
		if out, err := v.try(carrier); err == nil && strings.TrimSpace(out) == "1" {
			return
		}
		require.True(t, time.Now().Before(end), "nic%d has no link:\n%s", k, v.dmesg(t))
	}
}

func (x *ixgbevf) in(t *testing.T, ns, command string) string {
	t.Helper()
	return x.vm.run(t, "ip netns exec "+ns+" "+command)
}

func (x *ixgbevf) probes(t *testing.T) {
	joinFunctions(t, x.vm, 2)
	for k, state := range x.port.VFs() {
		ns := string(rune('a' + k))
		require.Equal(t, vfMAC(k).String(), strings.TrimSpace(x.in(t, ns, fmt.Sprintf("cat /sys/class/net/nic%d/address", k))))
		require.True(t, state.Ready)
		require.Equal(t, "1.5", state.API)
		out := x.in(t, ns, fmt.Sprintf("ethtool nic%d", k))
		require.Contains(t, out, "Speed: 10000Mb/s")
	}
	require.Empty(t, kernelWarnings(t, x.vm))
}

func (x *ixgbevf) pings(t *testing.T) {
	const pinging = "ping -c 3 -i 0.3 -w 30 "
	require.Contains(t, x.in(t, "a", pinging+peerAddress), "3 received")
	require.Contains(t, x.in(t, "b", pinging+peerAddress), "3 received")
	require.Contains(t, x.in(t, "a", pinging+"192.0.2.3"), "3 received", "switched in the port")
	require.Contains(t, x.peer.run(t, pinging+vmAddress), "3 received")
}

func (x *ixgbevf) tcp(t *testing.T) {
	const size = 20 << 20
	file, sum := randomFile(t, x.vm.share, size)
	sink := x.peer.sink(t, peerAddress)
	p := x.vm.start(t, fmt.Sprintf("ip netns exec a nc.openbsd -N %s %d < /share/%s", peerAddress, sink.port, filepath.Base(file)))
	p.wait(t, transferDeadline)
	require.Equal(t, sum, sink.wait(t, size))
	port := x.peer.source(t, peerAddress, file)
	p = x.vm.start(t, fmt.Sprintf("ip netns exec b nc.openbsd -d %s %d | sha256sum", peerAddress, port))
	require.Equal(t, sum, strings.Fields(p.wait(t, transferDeadline))[0])
	for who, snmp := range map[string]string{
		"a": x.in(t, "a", "cat /proc/net/snmp"), "b": x.in(t, "b", "cat /proc/net/snmp"), "peer": x.peer.run(t, "cat /proc/net/snmp"),
	} {
		require.Zero(t, snmpCounter(t, snmp, "Tcp", "InCsumErrors"), who)
		require.Zero(t, snmpCounter(t, snmp, "Tcp", "InErrs"), who)
	}
	for _, nic := range []string{"a ethtool -S nic0", "b ethtool -S nic1"} {
		s, err := readStats(x.vm.run(t, "ip netns exec "+nic))
		must(t, err)
		require.Zero(t, s["rx_csum_offload_errors"], nic)
	}
}

func (x *ixgbevf) vlan(t *testing.T) {
	x.joinVLAN(t)
	require.Contains(t, x.in(t, "a", "ping -c 3 -i 0.3 -w 30 198.51.100.2"), "3 received")
	x.in(t, "a", "ip link del vlan5")
	require.NotContains(t, x.port.VFs()[0].VLANs, uint16(5))
}

// joinVLAN gives both functions an interface in VLAN 5.
func (x *ixgbevf) joinVLAN(t *testing.T) {
	for k, ns := range []string{"a", "b"} {
		x.in(t, ns, fmt.Sprintf("ip link add link nic%d name vlan5 type vlan id 5", k))
		x.in(t, ns, fmt.Sprintf("ip addr add 198.51.100.%d/24 dev vlan5", k+1))
		x.in(t, ns, "ip link set vlan5 up")
		require.Contains(t, x.port.VFs()[k].VLANs, uint16(5))
	}
}

// reset takes the functions' right to send requests, as a port does that changes what it
// grants: the driver resets them.
func (x *ixgbevf) reset(t *testing.T) {
	must(t, x.port.SetVF(0, driver.VF{Trusted: true}))
	require.Eventually(t, func() bool { return x.port.VFs()[0].Ready }, linkDeadline, 100*time.Millisecond, "ixgbevf does not reset the function")
	require.Contains(t, x.in(t, "a", "ping -c 3 -i 0.3 -w 60 "+peerAddress), "received")
	x.in(t, "a", "ip link set nic0 promisc on")
	require.Eventually(t, func() bool { return x.port.VFs()[0].Promiscuous }, linkDeadline, 100*time.Millisecond)
	x.in(t, "a", "ip link set nic0 promisc off")
}

func (x *ixgbevf) upDown(t *testing.T) {
	for range 3 {
		x.in(t, "a", "ip link set nic0 down")
		x.in(t, "a", "ip link set nic0 up")
	}
	require.Contains(t, x.in(t, "a", "ping -c 5 -i 0.5 -w 60 "+peerAddress), "received")
}

// version opens the port as an older driver would do that knows the mailbox's messages up
// to a version, and loads ixgbevf anew.
func (x *ixgbevf) version(t *testing.T, version string) {
	x.vm.run(t, "modprobe -r ixgbevf && ip netns del a && ip netns del b")
	x.open(t, version)
	joinFunctions(t, x.vm, 2)
	for _, state := range x.port.VFs() {
		require.True(t, state.Ready)
		require.Equal(t, version, state.API)
	}
	x.pings(t)
}

// portReset closes the port and opens it again under ixgbevf, which complains about
// requests that are refused.
func (x *ixgbevf) portReset(t *testing.T) {
	x.open(t, "")
	require.Eventually(t, func() bool { return x.port.VFs()[0].Ready && x.port.VFs()[1].Ready }, 2*linkDeadline, 100*time.Millisecond, "ixgbevf does not reset its functions")
	for k := range 2 {
		waitCarrier(t, x.vm, k)
	}
	x.pings(t)
}

func (x *ixgbevf) clean(t *testing.T) {
	require.Empty(t, kernelWarnings(t, x.vm))
	s := x.vm.nic(0).stats(t)
	require.NoError(t, s.Balanced())
	require.Zero(t, s.Faults, s.LastFault)
	require.Positive(t, s.Copies, "frames between functions")
}

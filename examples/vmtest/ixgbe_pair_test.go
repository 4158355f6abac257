//go:build vmtest

package vmtest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pair is a VM with two connected ports, each in its own namespace: nic0 in a, nic1 in b.
// ixgbe drives both.
type pair struct{ vm *vm }

// TestIxgbePair tests two ports of the model, back to back.
func TestIxgbePair(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"6.1", "7.2"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			x := &pair{boot(t, machine{Kernel: kernel, NICs: []nic{
				{Wire: fmt.Sprintf("pair,mac=%s,clock=%d", modelMAC, clockError)}, {Wire: "pair,ddm=external"},
			}})}
			if !step(t, "both ports have a link", x.links) || !step(t, "ping", x.pings) {
				t.FailNow()
			}
			step(t, "ethtool -m: diagnostics with internal and external calibration", x.diagnostics)
			step(t, "TCP both ways at once", x.tcp)
			step(t, "MTU 9000", x.jumbo)
			step(t, "VLAN: tags inserted, filtered and stripped", x.vlan)
			step(t, "time stamps: ethtool -T, hwstamp_ctl, phc_ctl, ptp4l", x.stamps)
			step(t, "one end down, the other without link", x.carrier)
			step(t, "sent equals received", x.balance)
		})
	}
}

// in runs a command in one of the namespaces.
func (x *pair) in(t *testing.T, ns, command string) string {
	t.Helper()
	return x.vm.run(t, "ip netns exec "+ns+" "+command)
}

// diagnostics reads both modules: the second one's values are raw, and ethtool calibrates
// them by the constants of the module.
func (x *pair) diagnostics(t *testing.T) {
	for i, calibration := range []string{"internally", "externally"} {
		out := x.in(t, string(rune('a'+i)), fmt.Sprintf("ethtool -m nic%d", i))
		for _, want := range []string{
			`Optical diagnostics support\s+: Yes`, `Alarm/warning flags implemented\s+: Yes`, `Laser rx power low alarm\s+: Off`,
			`Module temperature\s+: 36\.50 degrees C`, `Module voltage\s+: 3\.3000 V`, `Laser bias current\s+: 6\.500 mA`,
			`Laser output power\s+: 0\.5600 mW / -2\.52 dBm`, `Receiver signal average optical power\s+: 0\.4500 mW / -3\.47 dBm`,
			`Module temperature high alarm threshold\s+: 78\.00 degrees C`, `Laser bias current low warning threshold\s+: 3\.000 mA`,
			`Laser rx power high warning threshold\s+: 0\.7943 mW`,
		} {
			require.Regexp(t, want, out, calibration+" calibrated")
		}
	}
}

func (x *pair) links(t *testing.T) {
	must(t, probe(x.vm, 0))
	require.Equal(t, modelMAC, x.vm.nic(0).stats(t).MAC)
	require.Equal(t, "02:1b:21:00:00:02", x.vm.nic(1).stats(t).MAC)
	for i, mac := range []string{modelMAC, "02:1b:21:00:00:02"} {
		require.Equal(t, mac, strings.TrimSpace(x.vm.run(t, fmt.Sprintf("cat /sys/class/net/nic%d/address", i))))
	}
	for i, ns := range []string{"a", "b"} {
		x.vm.run(t, fmt.Sprintf("ip netns add %s && ip link set nic%d netns %s", ns, i, ns))
		x.in(t, ns, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
		x.in(t, ns, fmt.Sprintf("ip addr add 10.0.0.%d/24 dev nic%d", i+1, i))
		x.in(t, ns, fmt.Sprintf("ip link set nic%d up", i))
	}
	x.carriers(t)
	require.Empty(t, kernelWarnings(t, x.vm))
}

func (x *pair) carriers(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		out, err := x.vm.try("ip netns exec a cat /sys/class/net/nic0/carrier && ip netns exec b cat /sys/class/net/nic1/carrier")
		return err == nil && strings.Fields(out)[0] == "1" && strings.Fields(out)[1] == "1"
	}, linkDeadline, 200*time.Millisecond, "both carriers")
}

func (x *pair) pings(t *testing.T) {
	require.Contains(t, x.in(t, "a", "ping -c 3 -i 0.3 -w 30 10.0.0.2"), "3 received")
	require.Contains(t, x.in(t, "b", "ping -c 3 -i 0.3 -w 30 10.0.0.1"), "3 received")
}

// tcp sends a file in both directions at the same time.
func (x *pair) tcp(t *testing.T) { x.exchange(t, "10.0.0.1", "10.0.0.2", 8<<20) }

func (x *pair) exchange(t *testing.T, a, b string, size int64) {
	t.Helper()
	file, sum := randomFile(t, x.vm.share, size)
	name := filepath.Base(file)
	got := []*process{
		x.vm.start(t, "ip netns exec a nc.openbsd -N -l "+a+" 5001 </dev/null | sha256sum"),
		x.vm.start(t, "ip netns exec b nc.openbsd -N -l "+b+" 5002 </dev/null | sha256sum"),
	}
	const listening = "ip netns exec a ss -tln | grep -q :5001 && ip netns exec b ss -tln | grep -q :5002"
	require.Eventually(t, func() bool { _, err := x.vm.try(listening); return err == nil }, 20*time.Second, 100*time.Millisecond)
	sent := []*process{
		x.vm.start(t, "ip netns exec b nc.openbsd -N "+a+" 5001 < /share/"+name),
		x.vm.start(t, "ip netns exec a nc.openbsd -N "+b+" 5002 < /share/"+name),
	}
	for _, p := range sent {
		p.wait(t, transferDeadline)
	}
	for _, p := range got {
		require.Equal(t, sum, strings.Fields(p.wait(t, transferDeadline))[0])
	}
	for i, ns := range []string{"a", "b"} {
		require.Zero(t, snmpCounter(t, x.in(t, ns, "cat /proc/net/snmp"), "Tcp", "InCsumErrors"), ns)
		require.Zero(t, x.stats(t, ns, i)["rx_csum_offload_errors"])
	}
}

func (x *pair) stats(t *testing.T, ns string, i int) map[string]uint64 {
	t.Helper()
	return parseStats(t, x.in(t, ns, fmt.Sprintf("ethtool -S nic%d", i)))
}

func (x *pair) jumbo(t *testing.T) {
	set := func(mtu int) {
		x.in(t, "a", fmt.Sprintf("ip link set nic0 mtu %d", mtu))
		x.in(t, "b", fmt.Sprintf("ip link set nic1 mtu %d", mtu))
		x.carriers(t)
	}
	set(9000)
	require.Contains(t, x.in(t, "a", "ping -c 3 -i 0.3 -w 30 -M do -s 8972 10.0.0.2"), "3 received")
	x.exchange(t, "10.0.0.1", "10.0.0.2", 4<<20)
	set(1500)
}

// vlan tests the chip's tag insertion, filter table and stripping, each also with the
// feature off at one end.
func (x *pair) vlan(t *testing.T) {
	for i, ns := range []string{"a", "b"} {
		x.in(t, ns, fmt.Sprintf("ip link add link nic%d name v7 type vlan id 7", i))
		x.in(t, ns, fmt.Sprintf("ip addr add 10.0.7.%d/24 dev v7", i+1))
		x.in(t, ns, "ip link set v7 up")
	}
	const ping = "ping -c 3 -i 0.3 -w 30 10.0.7.2"
	require.Contains(t, x.in(t, "a", ping), "3 received")
	x.exchange(t, "10.0.7.1", "10.0.7.2", 2<<20)
	for _, off := range []string{"txvlan", "rxvlan", "rx-vlan-filter"} {
		x.in(t, "a", "ethtool -K nic0 "+off+" off")
		x.carriers(t)
		require.Contains(t, x.in(t, "a", ping), "3 received", off)
		x.in(t, "a", "ethtool -K nic0 "+off+" on")
		x.carriers(t)
	}

	// b's filter table has no VLAN 8: the chip filters the frames.
	x.in(t, "a", "ip link add link nic0 name v8 type vlan id 8")
	x.in(t, "a", "ip addr add 10.0.8.1/24 dev v8")
	x.in(t, "a", "ip link set v8 up")
	before, heard := x.vm.nic(1).stats(t), x.stats(t, "b", 1)["rx_packets"]
	_, err := x.vm.try("ip netns exec a ping -c 3 -i 0.2 -W 1 10.0.8.2")
	require.Error(t, err)
	require.Greater(t, x.vm.nic(1).stats(t).Filtered, before.Filtered)
	require.Equal(t, heard, x.stats(t, "b", 1)["rx_packets"])
	x.in(t, "a", "ip link del v8")
	x.in(t, "a", "ip link del v7")
	x.in(t, "b", "ip link del v7")
	require.Empty(t, kernelWarnings(t, x.vm))
}

// carrier checks that setting an interface down turns the laser off, and so the other
// end's link.
func (x *pair) carrier(t *testing.T) {
	x.in(t, "a", "ip link set nic0 down")
	require.Eventually(t, func() bool {
		return strings.TrimSpace(x.in(t, "b", "cat /sys/class/net/nic1/carrier")) == "0"
	}, linkDeadline, 200*time.Millisecond, "nic1 has no link: nic0's laser is off")
	x.in(t, "a", "ip link set nic0 up")
	x.carriers(t)
	x.pings(t)
}

func (x *pair) balance(t *testing.T) {
	var a, b counters
	require.Eventually(t, func() bool {
		a, b = x.vm.nic(0).stats(t), x.vm.nic(1).stats(t)
		return a.Sent == b.Offered && b.Sent == a.Offered
	}, 10*time.Second, 200*time.Millisecond, "no frame is lost")
	for _, s := range []counters{a, b} {
		require.NoError(t, s.Balanced())
		require.Zero(t, s.Faults, s.LastFault)
	}
	require.Empty(t, kernelWarnings(t, x.vm))
}

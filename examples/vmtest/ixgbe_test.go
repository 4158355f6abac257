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

const (
	peerAddress = "192.0.2.1"
	vmAddress   = "192.0.2.2"
	modelMAC    = "02:1b:21:00:00:01"
)

// ixgbe is a VM whose ixgbe drives the model, with a peer on the wire.
type ixgbe struct {
	vm   *vm
	peer *peer
}

// TestIxgbe tests the software 82599 with Linux's driver.
func TestIxgbe(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"6.1", "7.2"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			// The peer always accepts jumbo frames.
			p := newPeer(t, 9000, peerAddress+"/24")
			v := boot(t, machine{Kernel: kernel, NICs: []nic{{Wire: "mac=" + modelMAC + ",packet=" + p.Wire}}})
			x := &ixgbe{vm: v, peer: p}
			for _, c := range []struct {
				name string
				f    func(t *testing.T)
			}{
				{"probe without a warning", x.probes},
				{"link at 10 Gb/s", x.links},
				{"each MSI-X vector fires", func(t *testing.T) { must(t, vectorsFire(v, 0)) }},
				{"descriptors are written back", x.writesBack},
			} {
				if !step(t, c.name, c.f) {
					t.FailNow() // the other cases need it
				}
			}
			step(t, "ping", x.pings)
			step(t, "flows spread over the RSS queues", x.rss)
			step(t, "10,000 flows on the queues that RSS says", x.hashed)
			step(t, "100 MB of TCP to the peer", x.sends)
			step(t, "100 MB of TCP from the peer", x.receives)
			step(t, "counters of driver, chip and wire agree", x.counts)
			step(t, "ethtool -N: queue and drop", x.steers)
			step(t, "unicast filter and promiscuous mode", x.promiscuous)
			step(t, "MTU 9000", x.jumbo)
			step(t, "ethtool -i -k -x -g -l -m -d", x.settings)
			step(t, "ethtool -E", x.eeprom)
			step(t, "ethtool -G -L -X -K -C", x.changes)
			step(t, "ethtool -t offline", x.selftest)
			step(t, "interface down and up 20 times", x.upDown)
			step(t, "rmmod and modprobe 5 times", x.reload)
			step(t, "no warnings, all frames counted", x.clean)
		})
	}
}

func (x *ixgbe) probes(t *testing.T) {
	must(t, probe(x.vm, 0))
	require.Empty(t, kernelWarnings(t, x.vm))
	log := x.vm.run(t, "dmesg | grep ixgbe")
	require.Contains(t, log, "MAC: 2, PHY: 20, SFP+: 5, PBA No: E66917-000", "82599, Intel SFP+, SR or LR module on core 0")
	require.Contains(t, log, "5.0 GT/s PCIe x8 link")
	require.Contains(t, log, modelMAC)
	require.Equal(t, modelMAC, strings.TrimSpace(x.vm.run(t, "cat /sys/class/net/nic0/address")))
	require.Equal(t, modelMAC, x.vm.nic(0).stats(t).MAC)
}

func (x *ixgbe) links(t *testing.T) {
	must(t, linkUp(x.vm, 0))
	out := x.vm.run(t, "ethtool nic0")
	for _, want := range []string{"Speed: 10000Mb/s", "Duplex: Full", "Port: FIBRE", "Link detected: yes"} {
		require.Contains(t, out, want)
	}
	require.Contains(t, x.vm.run(t, "dmesg | grep nic0"), "NIC Link is Up 10 Gbps, Flow Control: RX/TX")
	require.Empty(t, kernelWarnings(t, x.vm))
	x.vm.run(t, "ip addr add "+vmAddress+"/24 dev nic0")
}

func (x *ixgbe) writesBack(t *testing.T) { must(t, writtenBack(x.vm, 0, peerAddress)) }

func (x *ixgbe) pings(t *testing.T) {
	x.ping(t)
	require.Contains(t, x.peer.run(t, "ping -c 3 -i 0.3 -w 30 "+vmAddress), "3 received")
}

func (x *ixgbe) ping(t *testing.T) {
	t.Helper()
	require.Contains(t, x.vm.run(t, "ping -c 3 -i 0.3 -w 30 "+peerAddress), "3 received")
}

// rss connects from many ports to a closed port: each attempt is a flow, and the VM replies
// with a reset.
func (x *ixgbe) rss(t *testing.T) {
	const flows = 64
	before := x.stats(t)
	refused := 0
	for range flows {
		c, err := x.peer.dial(t, vmAddress+":9")
		if err == nil {
			c.Close()
		} else if strings.Contains(err.Error(), "refused") {
			refused++
		}
	}
	require.Equal(t, flows, refused, "attempts answered")
	after := x.stats(t)
	used, total := 0, uint64(0)
	for q := 0; ; q++ {
		name := fmt.Sprintf("rx_queue_%d_packets", q)
		if _, ok := after[name]; !ok {
			break
		}
		n := after[name] - before[name]
		total += n
		if n >= flows/8 {
			used++
		}
	}
	require.GreaterOrEqual(t, used, 2, "queues with at least %d frames: %v", flows/8, after)
	require.GreaterOrEqual(t, total, uint64(flows))
}

func (x *ixgbe) stats(t *testing.T) map[string]uint64 {
	t.Helper()
	s, err := nicStats(x.vm, 0)
	must(t, err)
	return s
}

const tcpBytes = 100 << 20

func (x *ixgbe) sends(t *testing.T) {
	file, sum := randomFile(t, x.vm.share, tcpBytes)
	sink := x.peer.sink(t, peerAddress)
	p := x.vm.start(t, fmt.Sprintf("nc.openbsd -N %s %d < /share/%s", peerAddress, sink.port, filepath.Base(file)))
	p.wait(t, transferDeadline)
	require.Equal(t, sum, sink.wait(t, tcpBytes))
	x.noChecksumErrors(t)
}

func (x *ixgbe) receives(t *testing.T) {
	file, sum := randomFile(t, x.vm.share, tcpBytes)
	port := x.peer.source(t, peerAddress, file)
	p := x.vm.start(t, fmt.Sprintf("nc.openbsd -d %s %d | sha256sum", peerAddress, port))
	require.Equal(t, sum, strings.Fields(p.wait(t, transferDeadline))[0])
	x.noChecksumErrors(t)
}

func (x *ixgbe) noChecksumErrors(t *testing.T) {
	t.Helper()
	s := x.stats(t)
	require.Zero(t, s["rx_csum_offload_errors"])
	require.Zero(t, s["rx_crc_errors"])
	require.Zero(t, s["rx_errors"])
	for who, snmp := range map[string]string{"VM": x.vm.run(t, "cat /proc/net/snmp"), "peer": x.peer.run(t, "cat /proc/net/snmp")} {
		require.Zero(t, snmpCounter(t, snmp, "Tcp", "InCsumErrors"), who)
		require.Zero(t, snmpCounter(t, snmp, "Tcp", "InErrs"), who)
	}
}

// counts compares the counters of the driver, the chip and the wire, without traffic.
func (x *ixgbe) counts(t *testing.T) {
	var s map[string]uint64
	var truth counters
	require.Eventually(t, func() bool {
		truth = x.vm.nic(0).stats(t)
		s = x.stats(t)
		return s["rx_pkts_nic"] == truth.Delivered && s["tx_pkts_nic"] == truth.Sent
	}, 20*time.Second, 500*time.Millisecond, "GPRC and GPTC equal the wire's counters")
	// A VM that has no processor for a while misses frames: the peer heeds no pause frames.
	// GPRC and GORC count these, too; Linux subtracts them from GPRC alone.
	require.Equal(t, truth.Missed, s["rx_missed_errors"], "MPC")
	missed := s["rx_bytes_nic"] - truth.DeliveredBytes
	require.GreaterOrEqual(t, missed, 60*truth.Missed, "GORC does not include the CRC")
	require.LessOrEqual(t, missed, 1514*truth.Missed, "GORC does not include the CRC")
	require.Equal(t, truth.SentBytes+4*truth.Sent, s["tx_bytes_nic"], "GOTC includes the CRC")
	require.Equal(t, s["rx_pkts_nic"], s["rx_packets"])
	require.Zero(t, truth.Faults, truth.LastFault)
	require.NoError(t, truth.Balanced())
}

// promiscuous sends to an address of no station: the frames pass the filter only in
// promiscuous mode.
func (x *ixgbe) promiscuous(t *testing.T) {
	const absent, absentMAC = "192.0.2.99", "02:00:00:00:00:99"
	x.peer.neighbour(t, absent, absentMAC)
	count := func() (model counters, driver uint64) { return x.vm.nic(0).stats(t), x.stats(t)["rx_packets"] }
	send := func(n int) {
		c, err := x.peer.dialUDP(t, absent+":9")
		must(t, err)
		defer c.Close()
		for range n {
			_, err := c.Write([]byte("to another station"))
			must(t, err)
		}
	}
	m0, d0 := count()
	send(10)
	require.Eventually(t, func() bool { m, _ := count(); return m.Filtered >= m0.Filtered+10 }, 10*time.Second, 100*time.Millisecond, "filtered by the model")
	_, d := count()
	require.Less(t, d, d0+10)

	x.vm.run(t, "ip link set nic0 promisc on")
	m1, d1 := count()
	send(10)
	require.Eventually(t, func() bool { _, d := count(); return d >= d1+10 }, 10*time.Second, 100*time.Millisecond, "received by the driver")
	m, _ := count()
	require.Equal(t, m1.Filtered, m.Filtered)
	x.vm.run(t, "ip link set nic0 promisc off")
}

func (x *ixgbe) jumbo(t *testing.T) {
	x.vm.run(t, "ip link set nic0 mtu 9000")
	t.Cleanup(func() { x.vm.run(t, "ip link set nic0 mtu 1500") })
	must(t, linkUp(x.vm, 0))
	// 8972 bytes and 28 bytes of headers, not fragmented.
	require.Contains(t, x.vm.run(t, "ping -c 3 -i 0.3 -w 30 -M do -s 8972 "+peerAddress), "3 received")
	const size = 8 << 20
	file, sum := randomFile(t, x.vm.share, size)
	before := x.stats(t)["rx_packets"]
	port := x.peer.source(t, peerAddress, file)
	got := x.vm.run(t, fmt.Sprintf("nc.openbsd -d %s %d | sha256sum", peerAddress, port))
	require.Equal(t, sum, strings.Fields(got)[0])
	require.Less(t, x.stats(t)["rx_packets"]-before, uint64(size/1500), "frames of more than 1500 bytes")
}

func (x *ixgbe) upDown(t *testing.T) {
	x.vm.run(t, "for i in $(seq 20); do ip link set nic0 down && ip link set nic0 up || exit 1; done")
	must(t, linkUp(x.vm, 0))
	x.ping(t)
	x.vm.run(t, "for i in $(seq 3); do ip link set nic0 down && ip link set nic0 up && sleep 1 || exit 1; done")
	must(t, linkUp(x.vm, 0))
	x.ping(t)
	require.Empty(t, kernelWarnings(t, x.vm))
}

func (x *ixgbe) reload(t *testing.T) {
	x.vm.run(t, "for i in $(seq 5); do rmmod ixgbe && modprobe ixgbe || exit 1; done")
	must(t, probe(x.vm, 0))
	must(t, linkUp(x.vm, 0))
	x.vm.run(t, "ip addr add "+vmAddress+"/24 dev nic0")
	must(t, vectorsFire(x.vm, 0))
	x.ping(t)
}

func (x *ixgbe) clean(t *testing.T) {
	require.Empty(t, kernelWarnings(t, x.vm))
	truth := x.vm.nic(0).stats(t)
	require.NoError(t, truth.Balanced())
	require.Zero(t, truth.Unwritten+truth.BadCRC+truth.Oversize+truth.SendError, "%+v", truth)
}

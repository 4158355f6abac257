//go:build vmtest

package vmtest

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// testpmd is a VM in which Debian 12's testpmd drives the model over the kernel's VFIO,
// with a peer on the wire.
type testpmd struct {
	vm   *vm
	peer *peer
	*process
	read int // bytes of its output that commands have returned
}

// TestDpdk tests the software 82599 with DPDK's driver.
func TestDpdk(t *testing.T) {
	t.Parallel()
	p := newPeer(t, 0, peerAddress+"/24")
	v := boot(t, machine{Kernel: "6.1", DPDK: true, NICs: []nic{{Wire: "mac=" + modelMAC + ",packet=" + p.Wire}}})
	x := &testpmd{vm: v, peer: p}
	if !step(t, "testpmd starts, link at 10 Gb/s", x.starts) {
		t.FailNow()
	}
	step(t, "receives", x.receives)
	step(t, "packet types", x.packetTypes)
	step(t, "forwards", x.forwards)
	step(t, "sends", x.sends)
	step(t, "link changes by interrupt", x.linkChanges)
	step(t, "stops, all frames counted", x.stops)
}

// testpmdDeadline is the time limit of a command of testpmd.
const testpmdDeadline = 2 * time.Minute

// testpmdOptions: two queues, each with more descriptors than datagrams are sent, so that
// testpmd drops none; RSS of UDP ports; the transmit function for packets of several segments.
const testpmdOptions = "-i --total-num-mbufs=8192 --rxq 2 --txq 2 --rxd 1024 --txd 1024 --rss-udp --tx-offloads=0x8000"

func (x *testpmd) starts(t *testing.T) {
	addr := x.vm.nic(0).addr(t)
	x.vm.run(t, "vfio-bind bind "+addr+" --hugepages 64")
	x.vm.run(t, "mkfifo /tmp/commands")
	x.process = x.vm.start(t, "exec testpmd -l 0-1 -n 1 -a "+addr+" --no-telemetry --file-prefix vmtest -- "+testpmdOptions+" <>/tmp/commands")
	x.waitFor(t, prompt, testpmdDeadline)
	x.read = len(x.output())
	require.Contains(t, x.output(), "Probe PCI driver: net_ixgbe (8086:10fb) device: "+addr)
	require.Contains(t, strings.ToLower(x.output()), "port 0: "+modelMAC)
	info := x.command(t, "show port info 0")
	for _, want := range []string{"Link status: up", "Link speed: 10 Gbps", "Link duplex: full-duplex", "Firmware-version: 0x800030d4"} {
		require.Contains(t, info, want)
	}
}

const prompt = "testpmd> "

// command runs a command of testpmd and returns its output.
func (x *testpmd) command(t *testing.T, command string) string {
	t.Helper()
	x.vm.run(t, "echo '"+command+"' >/tmp/commands")
	x.awaitOutput(t, x.read, prompt)
	out, _, _ := strings.Cut(x.output()[x.read:], prompt)
	x.read += len(out) + len(prompt)
	return out
}

var portStats = regexp.MustCompile(`(RX|TX)-(packets|missed|bytes|errors): +(\d+)`)

// stats returns testpmd's counters by name, such as RX-packets.
func (x *testpmd) stats(t *testing.T) map[string]uint64 {
	t.Helper()
	s := map[string]uint64{}
	for _, m := range portStats.FindAllStringSubmatch(x.command(t, "show port stats 0"), -1) {
		n, err := strconv.ParseUint(m[3], 10, 64)
		must(t, err)
		s[m[1]+"-"+m[2]] = n
	}
	return s
}

// awaitStats waits until testpmd's counters fulfil f.
func (x *testpmd) awaitStats(t *testing.T, what string, f func(s map[string]uint64) bool) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		s := x.stats(t)
		if f(s) {
			return
		}
		if time.Since(start) > testpmdDeadline {
			t.Fatalf("testpmd: not %s after %v: %v", what, testpmdDeadline, s)
		}
	}
}

// agree compares the counters of testpmd, which are the chip's, with the model's and with
// the frames that arrived at the peer, without traffic.
func (x *testpmd) agree(t *testing.T) {
	t.Helper()
	x.awaitStats(t, "equal to the model's counters", func(s map[string]uint64) bool {
		c := x.vm.nic(0).stats(t)
		return s["RX-packets"] == c.Delivered && s["RX-bytes"] == c.DeliveredBytes &&
			s["TX-packets"] == c.Sent && s["TX-bytes"] == c.SentBytes && x.peer.received(t) == c.Sent &&
			s["RX-missed"]+s["RX-errors"]+s["TX-errors"] == 0 && c.Balanced() == nil
	})
}

const datagrams = 500

// sendUDP sends datagrams in ten flows to a station that does not exist: testpmd is
// promiscuous.
func (x *testpmd) sendUDP(t *testing.T) {
	t.Helper()
	x.peer.neighbour(t, "192.0.2.99", "02:00:00:00:00:99")
	for i := range 10 {
		c, err := x.peer.dialUDP(t, fmt.Sprintf("192.0.2.99:%d", 1000+i))
		must(t, err)
		defer c.Close()
		for range datagrams / 10 {
			_, err := c.Write([]byte("to testpmd"))
			must(t, err)
		}
	}
}

func (x *testpmd) receives(t *testing.T) {
	x.command(t, "set fwd rxonly")
	x.command(t, "start")
	before := x.stats(t)["RX-packets"]
	x.sendUDP(t)
	x.awaitStats(t, "received", func(s map[string]uint64) bool { return s["RX-packets"] >= before+datagrams })
	out := x.command(t, "stop")
	for _, queue := range []string{"0", "1"} {
		require.Regexp(t, `Forward Stats for RX Port= 0/Queue= `+queue+` .*\n +RX-packets: [1-9]`, out, "RSS")
	}
	x.agree(t)
}

// packetTypes compares the types that the chip finds with those that DPDK parses.
func (x *testpmd) packetTypes(t *testing.T) {
	x.command(t, "set fwd rxonly")
	x.command(t, "set verbose 1")
	x.command(t, "start")
	for i, k := range typedPackets() {
		eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x99}, EthernetType: layers.EthernetTypeIPv4}
		if _, ok := k.layers[0].(*layers.IPv6); ok {
			eth.EthernetType = layers.EthernetTypeIPv6
		}
		b := gopacket.NewSerializeBuffer()
		must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
			append(append([]gopacket.SerializableLayer{eth}, k.layers...), gopacket.Payload(make([]byte, 100)))...))
		seen := len(x.output())
		x.peer.send(t, b.Bytes())
		x.awaitOutput(t, seen, fmt.Sprintf("src=02:00:00:00:01:%02X ", i))
		x.awaitOutput(t, seen, " - Receive queue=")
		require.Contains(t, x.output()[seen:], " - hw ptype: "+k.want+"  - sw ptype: "+k.want+"  - ")
	}
	x.command(t, "stop")
	x.command(t, "set verbose 0")
}

// typedPacket is a packet and DPDK's name of its type.
type typedPacket struct {
	want   string
	layers []gopacket.SerializableLayer
}

func typedPackets() []typedPacket {
	const udp, tcp, sctp, ip6, options = layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolSCTP, layers.IPProtocolIPv6, layers.IPProtocolIPv6Destination
	v4 := func(next layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: next, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 99}}
	}
	v6 := func(next layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::99")}
	}
	long := v4(udp)
	long.Options = []layers.IPv4Option{{OptionType: 1}} // no operation
	datagram, segment := &layers.UDP{SrcPort: 1, DstPort: 2}, &layers.TCP{SrcPort: 1, DstPort: 2, ACK: true}
	padding := gopacket.Payload{byte(udp), 0, 1, 4, 0, 0, 0, 0} // destination options
	return []typedPacket{
		{"L2_ETHER L3_IPV4 L4_UDP", []gopacket.SerializableLayer{v4(udp), datagram}},
		{"L2_ETHER L3_IPV4 L4_TCP", []gopacket.SerializableLayer{v4(tcp), segment}},
		{"L2_ETHER L3_IPV4 L4_SCTP", []gopacket.SerializableLayer{v4(sctp)}},
		{"L2_ETHER L3_IPV4_EXT L4_UDP", []gopacket.SerializableLayer{long, datagram}},
		{"L2_ETHER L3_IPV6 L4_UDP", []gopacket.SerializableLayer{v6(udp), datagram}},
		{"L2_ETHER L3_IPV6 L4_TCP", []gopacket.SerializableLayer{v6(tcp), segment}},
		{"L2_ETHER L3_IPV6_EXT L4_UDP", []gopacket.SerializableLayer{v6(options), padding, datagram}},
		{"L2_ETHER L3_IPV4 TUNNEL_IP INNER_L3_IPV6 INNER_L4_UDP", []gopacket.SerializableLayer{v4(ip6), v6(udp), datagram}},
		{"L2_ETHER L3_IPV4 TUNNEL_IP INNER_L3_IPV6 INNER_L4_TCP", []gopacket.SerializableLayer{v4(ip6), v6(tcp), segment}},
		{"L2_ETHER L3_IPV4 TUNNEL_IP INNER_L3_IPV6_EXT INNER_L4_UDP", []gopacket.SerializableLayer{v4(ip6), v6(options), padding, datagram}},
	}
}

// forwards returns each frame to the peer, with source and destination swapped.
func (x *testpmd) forwards(t *testing.T) {
	x.command(t, "set fwd macswap")
	x.command(t, "start")
	before := x.vm.nic(0).stats(t)
	x.sendUDP(t)
	x.awaitStats(t, "forwarded", func(s map[string]uint64) bool { return s["TX-packets"] >= before.Sent+datagrams })
	x.command(t, "stop")
	after := x.vm.nic(0).stats(t)
	require.Equal(t, after.Delivered-before.Delivered, after.Sent-before.Sent)
	require.Equal(t, after.DeliveredBytes-before.DeliveredBytes, after.SentBytes-before.SentBytes)
	x.agree(t)
}

// sends sends for a moment, as fast as the emulated processor does, on both queues.
func (x *testpmd) sends(t *testing.T) {
	x.command(t, "set fwd txonly")
	x.command(t, "set txpkts 60,200,300")
	before := x.vm.nic(0).stats(t)
	x.command(t, "start")
	x.awaitStats(t, "sent", func(s map[string]uint64) bool { return s["TX-packets"] > 5000 })
	x.command(t, "stop")
	after := x.vm.nic(0).stats(t)
	require.Equal(t, (after.Sent-before.Sent)*(60+200+300), after.SentBytes-before.SentBytes)
	x.agree(t)
}

// linkChanges tests the default mode of DPDK's interrupts: MSI-X is enabled,
// GPIE.Multiple_MSIX is not, and vector 0 signals all causes. testpmd masks the interrupt
// for up to 4 s after a change.
func (x *testpmd) linkChanges(t *testing.T) {
	for _, state := range []string{"down", "up", "down", "up"} {
		interrupts, seen := x.vm.nic(0).stats(t).Interrupts, len(x.output())
		x.peer.run(t, "ip link set eth0 "+state)
		x.awaitOutput(t, seen, "Port 0: link state change event")
		require.Contains(t, x.command(t, "show port info 0"), "Link status: "+state)
		require.Greater(t, x.vm.nic(0).stats(t).Interrupts, interrupts)
	}
}

// awaitOutput waits for a text in the output behind the first seen bytes.
func (x *testpmd) awaitOutput(t *testing.T, seen int, text string) {
	t.Helper()
	for start := time.Now(); !strings.Contains(x.output()[seen:], text); time.Sleep(20 * time.Millisecond) {
		select {
		case <-x.done:
			t.Fatalf("testpmd ended (status %d) without printing %q:\n%s", x.status.Code, text, x.output()[seen:])
		case <-x.vm.broken:
			t.Fatal(x.vm.brokenError())
		default:
		}
		if time.Since(start) > testpmdDeadline || time.Now().After(runEnds) {
			t.Fatalf("testpmd has not printed %q after %v:\n%s", text, time.Since(start).Round(time.Second), x.output()[seen:])
		}
	}
}

func (x *testpmd) stops(t *testing.T) {
	x.vm.run(t, "echo quit >/tmp/commands")
	require.Contains(t, x.wait(t, testpmdDeadline), "Bye...")
	c := x.vm.nic(0).stats(t)
	require.NoError(t, c.Balanced())
	require.Zero(t, c.Faults, c.LastFault)
	require.Zero(t, c.Unwritten+c.BadCRC+c.Oversize+c.SendError, "%+v", c)
	require.Empty(t, kernelWarnings(t, x.vm))
}

// send sends frames from the peer.
func (p *peer) send(t *testing.T, frames ...[]byte) {
	t.Helper()
	p.do(t, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: eth0.Attrs().Index}); err != nil {
				return err
			}
		}
		return nil
	})
}

// received returns the number of frames that arrived at the peer.
func (p *peer) received(t *testing.T) (n uint64) {
	t.Helper()
	p.do(t, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err == nil {
			n = eth0.Attrs().Statistics.RxPackets
		}
		return err
	})
	return n
}

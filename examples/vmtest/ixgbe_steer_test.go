//go:build vmtest

package vmtest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
)

// Queues of frames: RSS and the Flow Director's filters of ethtool -N.

// hashed sends frames of 10,000 random flows and compares the number on each queue with
// the one that key and table of ethtool -x say. Linux hashes the ports of TCP only.
func (x *ixgbe) hashed(t *testing.T) {
	const flows, part, strangers = 10000, 500, 50
	key, table := x.indirection(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	before := x.stats(t)
	want := map[int]uint64{}
	for sent := 0; sent < flows; sent += part {
		var frames [][]byte
		for range part {
			src, dst := randomEndpoint(rnd, len(frames)%2 == 0), randomEndpoint(rnd, len(frames)%2 == 0)
			tcp := rnd.IntN(2) == 0
			frames = append(frames, flowFrame(t, src, dst, tcp))
			if !tcp {
				src, dst = netip.AddrPortFrom(src.Addr(), 0), netip.AddrPortFrom(dst.Addr(), 0)
			}
			want[table[key.Hash(src, dst)%driver.RSSTableSize]]++
		}
		x.peer.send(t, frames...)
		// The ring of the driver has 512 descriptors.
		require.Eventually(t, func() bool { return x.stats(t)["rx_packets"] >= before["rx_packets"]+uint64(sent+part) },
			30*time.Second, 20*time.Millisecond, "frames received")
	}
	after := x.stats(t)
	require.Len(t, want, 2)
	for q, n := range want {
		name := fmt.Sprintf("rx_queue_%d_packets", q)
		got := after[name] - before[name]
		require.GreaterOrEqual(t, got, n, name)
		require.LessOrEqual(t, got, n+strangers, "%s: besides a few frames of others", name)
	}
}

var rssKeyLine = regexp.MustCompile(`(?m)^([0-9a-f]{2}:){39}[0-9a-f]{2}$`)

// indirection returns the key and the table that the driver has set.
func (x *ixgbe) indirection(t *testing.T) (key driver.RSSKey, table []int) {
	t.Helper()
	out := x.vm.run(t, "ethtool -x nic0")
	b, err := hex.DecodeString(strings.ReplaceAll(rssKeyLine.FindString(out), ":", ""))
	must(t, err)
	require.Len(t, b, len(key))
	copy(key[:], b)
	for _, m := range regexp.MustCompile(`(?m)^ +\d+:(( +\d+){8})$`).FindAllStringSubmatch(out, -1) {
		for _, f := range strings.Fields(m[1]) {
			q, err := strconv.Atoi(f)
			must(t, err)
			table = append(table, q)
		}
	}
	require.Len(t, table, driver.RSSTableSize)
	return key, table
}

func randomEndpoint(r *rand.Rand, v4 bool) netip.AddrPort {
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b, r.Uint64())
	binary.BigEndian.PutUint64(b[8:], r.Uint64())
	b[0] = 32 // global unicast; 32.0.0.0/8 of IPv4
	if v4 {
		b = b[:4]
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(1+r.IntN(65535)))
}

// flowFrame is a TCP or UDP frame to the VM's address.
func flowFrame(t *testing.T, src, dst netip.AddrPort, tcp bool) []byte {
	t.Helper()
	mac, err := net.ParseMAC(modelMAC)
	must(t, err)
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 0x77}, DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}
	proto := layers.IPProtocolUDP
	if tcp {
		proto = layers.IPProtocolTCP
	}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &layers.IPv4{Version: 4, TTL: 9, Protocol: proto, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	if src.Addr().Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: proto, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	}
	var l4 gopacket.SerializableLayer
	if tcp {
		l := &layers.TCP{SrcPort: layers.TCPPort(src.Port()), DstPort: layers.TCPPort(dst.Port()), ACK: true}
		must(t, l.SetNetworkLayerForChecksum(ip))
		l4 = l
	} else {
		l := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
		must(t, l.SetNetworkLayerForChecksum(ip))
		l4 = l
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		eth, ip, l4, gopacket.Payload(make([]byte, 20))))
	return b.Bytes()
}

// steers adds filters by ethtool -N: to each queue, and to drop. Each gets datagrams of
// many source ports, which RSS would spread.
func (x *ixgbe) steers(t *testing.T) {
	const flows, strangers = 64, 20
	x.vm.run(t, "ethtool -K nic0 ntuple on")
	must(t, linkUp(x.vm, 0))
	x.ping(t)
	for port, action := range map[int]int{9100: 0, 9101: 1, 9102: -1} {
		x.vm.run(t, fmt.Sprintf("ethtool -N nic0 flow-type udp4 dst-ip %s dst-port %d action %d loc %d", vmAddress, port, action, port-9000))
	}
	require.Contains(t, x.vm.run(t, "ethtool -n nic0"), "Total 3 rules")
	// send returns the growth of the counters of both queues, of the drops and of the matches.
	send := func(port int) (queues [2]uint64, dropped, matched uint64) {
		s0, m0 := x.stats(t), x.vm.nic(0).stats(t)
		var frames [][]byte
		for i := range flows {
			frames = append(frames, flowFrame(t, netip.MustParseAddrPort(fmt.Sprintf("%s:%d", peerAddress, 20000+i)),
				netip.MustParseAddrPort(fmt.Sprintf("%s:%d", vmAddress, port)), false))
		}
		x.peer.send(t, frames...)
		require.Eventually(t, func() bool {
			s1, m1 := x.stats(t), x.vm.nic(0).stats(t)
			for q := range queues {
				name := fmt.Sprintf("rx_queue_%d_packets", q)
				queues[q] = s1[name] - s0[name]
			}
			dropped, matched = m1.QueueDisabled-m0.QueueDisabled, s1["fdir_match"]-s0["fdir_match"]
			return queues[0]+queues[1]+dropped >= flows
		}, 20*time.Second, 50*time.Millisecond)
		return queues, dropped, matched
	}
	for q, port := range []int{9100, 9101} {
		queues, dropped, matched := send(port)
		require.GreaterOrEqual(t, queues[q], uint64(flows), "port %d", port)
		require.Less(t, queues[1-q], uint64(strangers), "port %d", port)
		require.Zero(t, dropped)
		require.EqualValues(t, flows, matched)
	}
	queues, dropped, matched := send(9102)
	require.Less(t, queues[0]+queues[1], uint64(strangers))
	require.EqualValues(t, flows, dropped)
	require.EqualValues(t, flows, matched)
	x.vm.run(t, "ethtool -N nic0 delete 102")
	queues, dropped, matched = send(9102)
	require.GreaterOrEqual(t, queues[0]+queues[1], uint64(flows), "the rule is deleted")
	require.Zero(t, dropped+matched)
	x.vm.run(t, "ethtool -N nic0 delete 100 && ethtool -N nic0 delete 101 && ethtool -K nic0 ntuple off")
	must(t, linkUp(x.vm, 0))
	x.ping(t)
}

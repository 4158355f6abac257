package driver_test

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

func serialize(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	return b.Bytes()
}

// udp is a datagram over IPv4 without Ethernet header, from a host with this last byte.
func udp(t *testing.T, host byte, payload []byte, port uint16) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{10, 0, 0, host}, DstIP: net.IP{10, 0, 1, 1}}
	u := &layers.UDP{SrcPort: 1234, DstPort: layers.UDPPort(port)}
	require.NoError(t, u.SetNetworkLayerForChecksum(ip))
	return serialize(t, ip, u, gopacket.Payload(payload))
}

// framed puts an EtherType and tags (EtherType and tag, from the outside) before a packet.
func framed(packet []byte, etherType uint16, tags ...[2]uint16) []byte {
	b := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, make([]byte, 0, 100)...)
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, tag[0]), tag[1])
	}
	b = append(binary.BigEndian.AppendUint16(b, etherType), packet...)
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

// Of tunnels the chip knows IPv6 in IPv4 alone; of all others it reports the outer header.
func TestModelTunnelsAreReportedAsTheChipDoes(t *testing.T) {
	inner := udp(t, 1, make([]byte, 40), 9)
	ip := func(protocol layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
	}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	u6 := &layers.UDP{SrcPort: 1, DstPort: 2}
	require.NoError(t, u6.SetNetworkLayerForChecksum(ip6))
	sixInFour := serialize(t, ip(layers.IPProtocolIPv6), ip6, u6, gopacket.Payload("six in four"))
	spoiled := append([]byte(nil), sixInFour...)
	spoiled[len(spoiled)-1]++
	gre := serialize(t, ip(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4}, gopacket.Payload(inner))
	vxlan := udp(t, 7, append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, framed(inner, 0x0800)...), 4789)

	const outer = ring.HasHash | ring.IPv4 | ring.IPChecked
	cases := []struct {
		name  string
		frame []byte
		info  ring.Info
	}{
		{"UDP", framed(inner, 0x0800), outer | ring.UDP | ring.L4Checked},
		{"IPv6 in IPv4: both, the inner checksum is not verified", framed(sixInFour, 0x0800), outer | ring.IPv6 | ring.UDP},
		{"IPv6 in IPv4 with a wrong inner checksum", framed(spoiled, 0x0800), outer | ring.IPv6 | ring.UDP},
		{"IPv4 in IPv4", framed(serialize(t, ip(layers.IPProtocolIPv4), gopacket.Payload(inner)), 0x0800), outer},
		{"GRE", framed(gre, 0x0800), outer},
		{"VXLAN: the outer UDP", framed(vxlan, 0x0800), outer | ring.UDP | ring.L4Checked},
		{"MPLS", framed(append([]byte{0, 0, 0x11, 0x40}, inner...), 0x8847), 0},
		{"PPPoE", framed(append([]byte{0x11, 0, 0, 1, 0, 70, 0, 0x21}, inner...), 0x8864), 0},
	}
	var frames []wire.Frame
	for _, c := range cases {
		frames = append(frames, wire.Frame{Data: c.frame})
	}
	r := openWire(t, &scriptWire{frames: frames}, sim.Config{}, driver.Config{RingSize: 64})
	require.NoError(t, r.port.Start())
	got := r.receive()
	require.Len(t, got, len(cases))
	for i, c := range cases {
		require.Equal(t, c.frame, got[i].data, c.name)
		require.Equal(t, c.info, got[i].info, c.name)
	}
	r.balance()
}

// A port that expects an outer tag hashes what is behind two tags, and nothing of frames
// without an outer tag.
func TestModelOuterTagIsPassed(t *testing.T) {
	service, customer := [2]uint16{0x88a8, 0x2064}, [2]uint16{0x8100, 0x0005}
	packets := func(tags ...[2]uint16) (list []wire.Frame) {
		for host := range byte(64) {
			list = append(list, wire.Frame{Data: framed(udp(t, host, make([]byte, 30), 9), 0x0800, tags...)})
		}
		return list
	}
	for _, c := range []struct {
		name   string
		outer  uint16
		tags   [][2]uint16
		hashed bool
		vlan   uint16 // 0: no tag is reported
	}{
		{"two tags, one expected", 0, [][2]uint16{service, customer}, false, 0},
		{"two tags", 0x88a8, [][2]uint16{service, customer}, true, 5},
		{"the outer one alone", 0x88a8, [][2]uint16{service}, true, 0},
		{"the inner one alone", 0x88a8, [][2]uint16{customer}, false, 0},
		{"no tag", 0x88a8, nil, false, 0},
		{"both of 802.1Q", 0x8100, [][2]uint16{{0x8100, 7}, customer}, true, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames := packets(c.tags...)
			r := openWire(t, &scriptWire{frames: frames}, sim.Config{}, driver.Config{RingSize: 256, Queues: 4, OuterVLAN: c.outer})
			require.NoError(t, r.port.Start())
			got := r.receive()
			require.Len(t, got, len(frames))
			queues := map[int]bool{}
			for _, f := range got {
				queues[f.queue] = true
				require.Equal(t, c.hashed, f.info&ring.HasHash != 0)
				require.Equal(t, c.hashed, f.info&ring.L4Checked != 0)
				require.Equal(t, c.vlan != 0, f.info&ring.HasVLAN != 0)
				require.Equal(t, c.vlan, f.vlan)
			}
			require.Equal(t, c.hashed, len(queues) == 4, "queues %v", queues)
			require.True(t, c.hashed || queues[0])
			r.balance()
		})
	}
	_, err := driver.Open(openWire(t, &scriptWire{}, sim.Config{}, driver.Config{RingSize: 64}).dev, driver.Config{OuterVLAN: 0x88a8, StripVLAN: true})
	require.ErrorContains(t, err, "outer VLAN 0x88a8: want an EtherType such as 0x88a8, without StripVLAN")
}

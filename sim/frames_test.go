package sim

import (
	"encoding/binary"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Frames for tests are made by gopacket, so that checksums and layouts do not come
// from the model.

var (
	macA = [6]byte{0x02, 0, 0, 0, 0, 0xaa}
	macB = [6]byte{0x02, 0, 0, 0, 0, 0xbb}
)

func serialize(ls ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func ethernet(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA[:], DstMAC: macB[:], EthernetType: t}
}

func udp4(src, dst string, sport, dport uint16, payload int) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip(src), DstIP: ip(dst)}
	u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	_ = u.SetNetworkLayerForChecksum(ip)
	return serialize(ethernet(layers.EthernetTypeIPv4), ip, u, gopacket.Payload(pattern(payload)))
}

func tcp4(src, dst string, sport, dport uint16, payload int) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ip(src), DstIP: ip(dst)}
	u := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), ACK: true, Window: 100, Seq: 1000}
	_ = u.SetNetworkLayerForChecksum(ip)
	return serialize(ethernet(layers.EthernetTypeIPv4), ip, u, gopacket.Payload(pattern(payload)))
}

func l46(src, dst string, sport, dport uint16, tcp bool, payload int) []byte {
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: ip(src), DstIP: ip(dst)}
	var l4 gopacket.SerializableLayer
	if tcp {
		ip6.NextHeader = layers.IPProtocolTCP
		t := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), ACK: true}
		_ = t.SetNetworkLayerForChecksum(ip6)
		l4 = t
	} else {
		u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
		_ = u.SetNetworkLayerForChecksum(ip6)
		l4 = u
	}
	return serialize(ethernet(layers.EthernetTypeIPv6), ip6, l4, gopacket.Payload(pattern(payload)))
}

// in4 puts a frame's IP packet into IPv4.
func in4(f []byte) []byte {
	outer := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolIPv6, SrcIP: ip("192.0.2.1"), DstIP: ip("192.0.2.2")}
	if binary.BigEndian.Uint16(f[12:]) == 0x0800 {
		outer.Protocol = layers.IPProtocolIPv4
	}
	return serialize(ethernet(layers.EthernetTypeIPv4), outer, gopacket.Payload(f[14:]))
}

// tagged inserts a VLAN tag into a frame.
func tagged(f []byte, id uint16) []byte {
	b := append([]byte(nil), f[:12]...)
	b = binary.BigEndian.AppendUint16(b, 0x8100)
	b = binary.BigEndian.AppendUint16(b, id)
	return append(b, f[12:]...)
}

// plain is a frame of n bytes with an unknown EtherType.
func plain(n int) []byte {
	f := pattern(n)
	copy(f, macB[:])
	copy(f[6:], macA[:])
	f[12], f[13] = 0x88, 0xb5
	return f
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func ip(s string) net.IP {
	p := net.ParseIP(s)
	if v4 := p.To4(); v4 != nil {
		return v4
	}
	return p
}

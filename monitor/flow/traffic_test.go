package flow

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// input is a packet of a stream.
func input(data []byte, length int, stamp int64) stream.Packet {
	return stream.Packet{Data: data, Len: uint16(length), Sec: uint32(stamp / 1e9), Nsec: uint32(stamp % 1e9)}
}

// capture reads a pcap file.
func capture(t testing.TB, name string) (packets []stream.Packet) {
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	r, err := pcapgo.NewReader(bytes.NewReader(text))
	require.NoError(t, err)
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			break
		}
		packets = append(packets, input(data, info.Length, info.Timestamp.UnixNano()))
	}
	require.NotEmpty(t, packets)
	return packets
}

// captures are the names of those beside the checkout.
func captures(t testing.TB) []string {
	names, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(names) == 0 {
		t.Skip("no captures in ../shared/pcaps, beside the checkout: put pcap files there")
	}
	return names
}

// traffic generates packets of all kinds, from few hosts, so that flows meet.
type traffic struct {
	*rand.Rand
	now     int64
	seqs    map[string]uint32
	packets []stream.Packet
}

func newTraffic(seed uint64) *traffic {
	return &traffic{Rand: rand.New(rand.NewPCG(seed, 1)), now: 1.7e18, seqs: map[string]uint32{}}
}

func (g *traffic) mac(host int) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, byte(host)} }

// emit adds a frame, sometimes cut, with a stamp a little later, sometimes much.
func (g *traffic) emit(frame []byte) {
	switch g.IntN(400) {
	case 0:
		g.now += g.Int64N(40e9)
	case 1: // a stamp that steps back
		g.now -= g.Int64N(1e6)
	case 2:
		g.now += g.Int64N(2e9)
	default:
		g.now += g.Int64N(3e6)
	}
	p := input(frame, max(60, len(frame)), g.now)
	switch g.IntN(50) {
	case 0:
		p.Data = frame[:g.IntN(len(frame)+1)]
	case 1, 2, 3:
		p.Data = frame[:min(len(frame), 96)]
	}
	if g.IntN(20) == 0 {
		p.Info, p.VLAN = ring.HasVLAN|ring.Stripped, uint16(g.IntN(1<<16))
	}
	g.packets = append(g.packets, p)
}

func (g *traffic) serialize(all ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, all...)
	if err != nil {
		panic(err)
	}
	return bytes.Clone(b.Bytes())
}

// transport is a random segment or message between two hosts.
func (g *traffic) transport(a, b int) (layers.IPProtocol, []byte) {
	payload := make([]byte, g.IntN(300))
	for i := range payload {
		payload[i] = byte(g.Uint32())
	}
	src, dst := uint16(1000+a), uint16(1000+b)
	switch g.IntN(12) {
	case 0:
		return layers.IPProtocolSCTP, append(binary.BigEndian.AppendUint32(nil, uint32(src)<<16|uint32(dst)), payload...)
	case 1, 2:
		return layers.IPProtocolICMPv4, append([]byte{byte(g.IntN(20)), byte(g.IntN(3)), 0, 0, 0, byte(g.IntN(3))}, payload...)
	case 3:
		return layers.IPProtocolESP, payload
	case 4, 5, 6:
		u := &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
		return layers.IPProtocolUDP, g.serialize(u, gopacket.Payload(payload))
	case 7:
		return layers.IPProtocolICMPv6, append([]byte{byte(126 + g.IntN(5)), 0, 0, 0, 1, byte(g.IntN(3))}, payload...)
	}
	return layers.IPProtocolTCP, g.segment(src, dst, payload)
}

// segment goes on with a connection, or repeats, omits or reorders.
func (g *traffic) segment(src, dst uint16, payload []byte) []byte {
	at := func(s, d uint16) string { return string([]byte{byte(s), byte(s >> 8), byte(d), byte(d >> 8)}) }
	mine, other := at(src, dst), at(dst, src)
	t := &layers.TCP{SrcPort: layers.TCPPort(src), DstPort: layers.TCPPort(dst), Window: uint16(g.IntN(4)), Seq: g.seqs[mine], Ack: g.seqs[other]}
	t.ACK = g.IntN(8) != 0
	switch g.IntN(12) {
	case 0, 1:
		t.SYN, payload = true, nil
	case 2:
		t.FIN = g.IntN(3) == 0
	case 3:
		t.RST = g.IntN(6) == 0
	case 4, 5:
		payload = nil
	case 6:
		t.PSH, t.URG, t.ECE, t.CWR = true, g.IntN(2) == 0, g.IntN(2) == 0, g.IntN(2) == 0
	}
	n := uint32(len(payload))
	if t.SYN || t.FIN {
		n++
	}
	switch g.IntN(10) {
	case 0:
		t.Seq -= uint32(g.IntN(600)) // again, or what was missing
	case 1:
		t.Seq += uint32(g.IntN(600))
		g.seqs[mine] = t.Seq + n
	case 2:
		t.Seq, payload = t.Seq-1, make([]byte, 1)
	default:
		g.seqs[mine] += n
	}
	return g.serialize(t, gopacket.Payload(payload))
}

// packet is one of IP, or its fragments.
func (g *traffic) packet(a, b int) (kind layers.EthernetType, parts [][]byte) {
	proto, body := g.transport(a, b)
	return g.packetOf(a, b, proto, body)
}

func (g *traffic) packetOf(a, b int, proto layers.IPProtocol, body []byte) (kind layers.EthernetType, parts [][]byte) {
	pieces := [][]byte{body}
	if g.IntN(6) == 0 && len(body) > 24 {
		cut := (8 + g.IntN(len(body)-16)) &^ 7
		pieces = [][]byte{body[:cut], body[cut:]}
	}
	id, at := g.Uint32(), 0
	six := g.IntN(3) == 0
	for i, piece := range pieces {
		last := i == len(pieces)-1
		if six {
			parts = append(parts, g.six(a, b, proto, piece, len(pieces) > 1, last, at, id))
		} else {
			flags := layers.IPv4MoreFragments
			if last {
				flags = 0
			}
			ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 9, Protocol: proto, SrcIP: net.IPv4(10, 0, 0, byte(a)), DstIP: net.IPv4(10, 0, 0, byte(b)), Id: uint16(id), Flags: flags, FragOffset: uint16(at / 8)}
			parts = append(parts, g.serialize(ip, gopacket.Payload(piece)))
		}
		at += len(piece)
	}
	if len(parts) > 1 && g.IntN(5) == 0 {
		parts[0], parts[1] = parts[1], parts[0]
	}
	if six {
		return layers.EthernetTypeIPv6, parts
	}
	return layers.EthernetTypeIPv4, parts
}

// six is a packet of IPv6 with extension headers.
func (g *traffic) six(a, b int, proto layers.IPProtocol, piece []byte, fragment, last bool, at int, id uint32) []byte {
	next := byte(proto)
	var extension []byte
	if fragment {
		field := uint16(at)
		if !last {
			field |= 1
		}
		extension = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{next, 0}, field), id)
		next = 44
	}
	for g.IntN(4) == 0 {
		kind := []byte{0, 60, 43, 51}[g.IntN(4)]
		h := make([]byte, 16)
		h[0], h[1] = next, 1
		if kind == 51 {
			h[1] = 2
		}
		extension, next = append(h, extension...), kind
	}
	src, dst := make(net.IP, 16), make(net.IP, 16)
	src[0], src[15], dst[0], dst[15] = 0x20, byte(a), 0x20, byte(b)
	ip := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocol(next), SrcIP: src, DstIP: dst}
	return g.serialize(ip, gopacket.Payload(append(extension, piece...)))
}

// frames emits one datagram, perhaps in a tunnel.
func (g *traffic) frames() {
	a, b := 1+g.IntN(4), 1+g.IntN(4)
	if g.IntN(25) == 0 { // no IP
		kind := []uint16{0x806, 40, 0x88cc, 0x8863}[g.IntN(4)]
		g.emit(binary.BigEndian.AppendUint16(append(g.mac(a), g.mac(b)...), kind))
		return
	}
	kind, parts := g.packet(a, b)
	for g.IntN(3) == 0 {
		proto, body := g.tunnel(kind, parts[0])
		kind, parts = g.packetOf(a+10, b+10, proto, body)
	}
	mpls := g.IntN(8) == 0
	for _, part := range parts {
		frame := append(g.mac(b), g.mac(a)...)
		for g.IntN(5) == 0 {
			frame = append(frame, 0x81, 0, byte(g.IntN(255)), byte(g.IntN(3)))
		}
		if mpls {
			frame = append(frame, 0x88, 0x47, 0, 1, 0x20, 9, 0, 0, 0x31, 9)
		} else {
			frame = binary.BigEndian.AppendUint16(frame, uint16(kind))
		}
		frame = append(frame, part...)
		for len(frame) < 60 {
			frame = append(frame, 0)
		}
		g.emit(frame)
	}
}

// tunnel puts a packet into one.
func (g *traffic) tunnel(kind layers.EthernetType, packet []byte) (layers.IPProtocol, []byte) {
	number := uint32(g.IntN(3))
	udp := func(port uint16, b []byte) (layers.IPProtocol, []byte) {
		return layers.IPProtocolUDP, g.serialize(&layers.UDP{SrcPort: 7, DstPort: layers.UDPPort(port)}, gopacket.Payload(b))
	}
	frame := append(binary.BigEndian.AppendUint16(append(g.mac(31), g.mac(32)...), uint16(kind)), packet...)
	labels := []byte{0, 7, 0, 1, 0, byte(number), 0x11, 1}
	switch g.IntN(7) {
	case 0:
		gre := &layers.GRE{Protocol: kind, KeyPresent: g.IntN(2) == 0, Key: number, SeqPresent: g.IntN(2) == 0}
		return layers.IPProtocolGRE, g.serialize(gre, gopacket.Payload(packet))
	case 1:
		return layers.IPProtocolGRE, g.serialize(&layers.GRE{Protocol: 0x6558}, gopacket.Payload(frame))
	case 2:
		return udp(4789, append(binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, number<<8), frame...))
	case 3:
		head := binary.BigEndian.AppendUint16([]byte{0x30, 255}, uint16(len(packet)))
		return udp(2152, append(binary.BigEndian.AppendUint32(head, number), packet...))
	case 4:
		return udp(6635, append(labels, packet...))
	case 5:
		return layers.IPProtocolMPLSInIP, append(labels, packet...)
	}
	if kind == layers.EthernetTypeIPv6 {
		return layers.IPProtocolIPv6, packet
	}
	return layers.IPProtocolIPv4, packet
}

func generated(seed uint64, n int) []stream.Packet {
	g := newTraffic(seed)
	for len(g.packets) < n {
		g.frames()
	}
	return g.packets
}

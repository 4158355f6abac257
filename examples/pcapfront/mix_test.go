package pcapfront

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"
)

// mixStart is the stamp of the first packet of a mix.
var mixStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// packetGap lies between two packets of a mix, in file order.
const packetGap = 500 * time.Microsecond

// conversation is what two hosts send each other, in order.
type conversation [][]byte

// endpoints are the two sides of a conversation; client opens it.
type endpoints struct {
	client, server         net.IP
	clientPort, serverPort uint16
}

// mix returns the frames of a network's traffic: HTTP over TCP, DNS and SIP over UDP, pings,
// fragmented datagrams, over IPv4 and IPv6, with conversations interleaved. n scales it:
// n conversations of HTTP, about two of them for each other one.
func mix(t *testing.T, n int) [][]byte {
	t.Helper()
	var all []conversation
	for i := range n {
		e := endpoints{ip4(10, 1, i), ip4(10, 2, i%7), uint16(20000 + i), 80}
		if i%5 == 4 {
			e.client, e.server = ip6(1, i), ip6(2, i%7)
		}
		all = append(all, httpCall(t, e, i))
		if i%2 == 0 {
			e := endpoints{ip4(10, 3, i), ip4(10, 4, i%3), uint16(30000 + i), 53}
			all = append(all, dnsQuery(t, e, i))
		}
		if i%4 == 0 {
			e := endpoints{ip4(10, 5, i), ip4(10, 6, i), 5060, 5060}
			all = append(all, sipCall(t, e, i))
		}
		if i%8 == 0 {
			all = append(all, ping(t, ip4(10, 7, i), ip4(10, 8, i), uint16(i)),
				fragments(t, endpoints{ip4(10, 9, i), ip4(10, 10, i), uint16(40000 + i), 9999}, uint16(i+1)))
		}
	}
	return interleave(all, 16)
}

// interleave takes frames in turn from as many conversations at a time.
func interleave(all []conversation, wide int) [][]byte {
	var frames [][]byte
	var open []conversation
	for len(open) > 0 || len(all) > 0 {
		for len(open) < wide && len(all) > 0 {
			open, all = append(open, all[0]), all[1:]
		}
		var still []conversation
		for _, c := range open {
			frames = append(frames, c[0])
			if len(c) > 1 {
				still = append(still, c[1:])
			}
		}
		open = still
	}
	return frames
}

func ip4(b, c, d int) net.IP { return net.IPv4(10, byte(b<<4|c), byte(d>>8), byte(d)).To4() }

func ip6(c, d int) net.IP {
	ip := net.ParseIP("2001:db8::")
	ip[9], ip[14], ip[15] = byte(c), byte(d>>8), byte(d)
	return ip
}

// frame serializes layers behind Ethernet and IP headers of a packet from one host to another.
func frame(t *testing.T, from, to net.IP, proto layers.IPProtocol, rest ...gopacket.SerializableLayer) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: mac(from), DstMAC: mac(to), EthernetType: layers.EthernetTypeIPv4}
	var ip gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	if from.To4() != nil {
		v4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: from, DstIP: to, Flags: layers.IPv4DontFragment}
		ip, network = v4, v4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: from, DstIP: to}
		ip, network = v6, v6
	}
	for _, l := range rest {
		switch l := l.(type) {
		case *layers.TCP:
			require.NoError(t, l.SetNetworkLayerForChecksum(network))
		case *layers.UDP:
			require.NoError(t, l.SetNetworkLayerForChecksum(network))
		}
	}
	return serialize(t, append([]gopacket.SerializableLayer{eth, ip}, rest...)...)
}

func serialize(t *testing.T, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...))
	f := b.Bytes()
	if short := 60 - len(f); short > 0 {
		f = append(f, make([]byte, short)...)
	}
	return f
}

func mac(ip net.IP) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, ip[len(ip)-3], ip[len(ip)-2], ip[len(ip)-1]}
}

// tcpSide is one side of a TCP connection.
type tcpSide struct {
	ip       net.IP
	port     uint16
	seq, ack uint32
}

// tcpSegment returns a segment from one side to the other and moves both on.
func tcpSegment(t *testing.T, from, to *tcpSide, flags string, data string) []byte {
	t.Helper()
	l := &layers.TCP{
		SrcPort: layers.TCPPort(from.port), DstPort: layers.TCPPort(to.port), Seq: from.seq, Window: 64240,
		SYN: strings.Contains(flags, "S"), ACK: strings.Contains(flags, "A"), FIN: strings.Contains(flags, "F"), PSH: data != "",
	}
	if l.ACK {
		l.Ack = from.ack
	}
	if l.SYN {
		l.Options = []layers.TCPOption{
			{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
			{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 1, 0, 0, 0, 0, 0, 0}},
			{OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
		}
	}
	from.seq += uint32(len(data))
	if l.SYN || l.FIN {
		from.seq++
	}
	to.ack = from.seq
	return frame(t, from.ip, to.ip, layers.IPProtocolTCP, l, gopacket.Payload(data))
}

// httpCall returns a TCP connection with one request and its answer.
func httpCall(t *testing.T, e endpoints, i int) conversation {
	t.Helper()
	c := &tcpSide{ip: e.client, port: e.clientPort, seq: 1000 + uint32(i)}
	s := &tcpSide{ip: e.server, port: e.serverPort, seq: 900000 + uint32(i)}
	body := strings.Repeat(fmt.Sprintf("line of answer %d\n", i), 20+i%150)
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: nginx/1.22\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	out := conversation{
		tcpSegment(t, c, s, "S", ""), tcpSegment(t, s, c, "SA", ""), tcpSegment(t, c, s, "A", ""),
		tcpSegment(t, c, s, "A", fmt.Sprintf("GET /page-%d HTTP/1.1\r\nHost: www%d.example.org\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n", i, i%7)),
	}
	for len(answer) > 0 {
		n := min(1400, len(answer))
		out = append(out, tcpSegment(t, s, c, "A", answer[:n]), tcpSegment(t, c, s, "A", ""))
		answer = answer[n:]
	}
	return append(out, tcpSegment(t, c, s, "FA", ""), tcpSegment(t, s, c, "FA", ""), tcpSegment(t, c, s, "A", ""))
}

// datagram returns a UDP datagram from the client or to it.
func datagram(t *testing.T, e endpoints, toClient bool, data gopacket.SerializableLayer) []byte {
	t.Helper()
	if toClient {
		e = endpoints{e.server, e.client, e.serverPort, e.clientPort}
	}
	u := &layers.UDP{SrcPort: layers.UDPPort(e.clientPort), DstPort: layers.UDPPort(e.serverPort)}
	return frame(t, e.client, e.server, layers.IPProtocolUDP, u, data)
}

func dnsQuery(t *testing.T, e endpoints, i int) conversation {
	t.Helper()
	name := fmt.Appendf(nil, "host%d.example.org", i)
	q := layers.DNSQuestion{Name: name, Type: layers.DNSTypeA, Class: layers.DNSClassIN}
	ask := &layers.DNS{ID: uint16(i), RD: true, Questions: []layers.DNSQuestion{q}, QDCount: 1}
	answer := &layers.DNS{
		ID: uint16(i), QR: true, RD: true, RA: true, Questions: []layers.DNSQuestion{q}, QDCount: 1, ANCount: 1,
		Answers: []layers.DNSResourceRecord{{Name: name, Type: layers.DNSTypeA, Class: layers.DNSClassIN, TTL: 300, IP: ip4(10, 2, i)}},
	}
	return conversation{datagram(t, e, false, ask), datagram(t, e, true, answer)}
}

func sipCall(t *testing.T, e endpoints, i int) conversation {
	t.Helper()
	message := func(first, method string, seq int, tag bool) gopacket.Payload {
		to := fmt.Sprintf("<sip:bob%d@example.org>", i)
		if tag {
			to += fmt.Sprintf(";tag=b%d", i)
		}
		return gopacket.Payload(fmt.Sprintf("%s\r\nVia: SIP/2.0/UDP %s:5060;branch=z9hG4bK%d-%d\r\nMax-Forwards: 70\r\nFrom: <sip:alice%d@example.org>;tag=a%d\r\n"+
			"To: %s\r\nCall-ID: call%d@%s\r\nCSeq: %d %s\r\nContact: <sip:alice%d@%s>\r\nContent-Length: 0\r\n\r\n",
			first, e.client, i, seq, i, i, to, i, e.client, seq, method, i, e.client))
	}
	uri := fmt.Sprintf("sip:bob%d@example.org SIP/2.0", i)
	return conversation{
		datagram(t, e, false, message("INVITE "+uri, "INVITE", 1, false)),
		datagram(t, e, true, message("SIP/2.0 180 Ringing", "INVITE", 1, true)),
		datagram(t, e, true, message("SIP/2.0 200 OK", "INVITE", 1, true)),
		datagram(t, e, false, message("ACK "+uri, "ACK", 1, true)),
		datagram(t, e, false, message("BYE "+uri, "BYE", 2, true)),
		datagram(t, e, true, message("SIP/2.0 200 OK", "BYE", 2, true)),
	}
}

func ping(t *testing.T, from, to net.IP, id uint16) conversation {
	t.Helper()
	data := gopacket.Payload(strings.Repeat("p", 56))
	echo := func(kind uint8) *layers.ICMPv4 {
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: 1}
	}
	return conversation{
		frame(t, from, to, layers.IPProtocolICMPv4, echo(layers.ICMPv4TypeEchoRequest), data),
		frame(t, to, from, layers.IPProtocolICMPv4, echo(layers.ICMPv4TypeEchoReply), data),
	}
}

// fragments returns a datagram of 3000 bytes in three fragments, then a whole one of its flow.
func fragments(t *testing.T, e endpoints, id uint16) conversation {
	t.Helper()
	udp := make([]byte, 8+3000)
	binary.BigEndian.PutUint16(udp, e.clientPort)
	binary.BigEndian.PutUint16(udp[2:], e.serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp))) // checksum 0: none
	var out conversation
	for at := 0; at < len(udp); at += 1200 {
		end := min(at+1200, len(udp))
		ip := &layers.IPv4{Version: 4, TTL: 64, Id: id, Protocol: layers.IPProtocolUDP, SrcIP: e.client, DstIP: e.server, FragOffset: uint16(at / 8)}
		if end < len(udp) {
			ip.Flags = layers.IPv4MoreFragments
		}
		eth := &layers.Ethernet{SrcMAC: mac(e.client), DstMAC: mac(e.server), EthernetType: layers.EthernetTypeIPv4}
		out = append(out, serialize(t, eth, ip, gopacket.Payload(udp[at:end])))
	}
	return append(out, datagram(t, e, false, gopacket.Payload("whole datagram")))
}

// packet is a packet of a file.
type packet struct {
	stamp time.Time
	wire  int // bytes it had on the wire
	data  []byte
}

// stamped gives frames the stamps of a mix.
func stamped(frames [][]byte) []packet {
	all := make([]packet, len(frames))
	for i, f := range frames {
		all[i] = packet{mixStart.Add(time.Duration(i) * packetGap), len(f), f}
	}
	return all
}

// writePcap writes packets to a pcap file, with microseconds or nanoseconds.
func writePcap(t *testing.T, name string, packets []packet, nano bool) {
	t.Helper()
	f, err := os.Create(name)
	require.NoError(t, err)
	w := pcapgo.NewWriter(f)
	if nano {
		w = pcapgo.NewWriterNanos(f)
	}
	require.NoError(t, w.WriteFileHeader(262144, layers.LinkTypeEthernet))
	for _, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: p.stamp, CaptureLength: len(p.data), Length: p.wire}
		require.NoError(t, w.WritePacket(ci, p.data))
	}
	require.NoError(t, f.Close())
}

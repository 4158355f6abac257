package fanout

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream/entry"
)

// memory is a stream's data with its entries.
type memory struct {
	data    []byte
	entries []entry.Entry
}

const memoryMask = 1<<24 - 1

// add appends the record of a frame.
func (m *memory) add(sec uint32, frame []byte) {
	m.entries = append(m.entries, entry.Entry{Offset: uint64(len(m.data)), Caplen: uint16(len(frame)), Len: uint16(len(frame))})
	m.data = append(m.data, record(sec, frame)...)
}

func record(sec uint32, frame []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, sec)
	b = append(b, 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(frame)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(frame)))
	return append(b, frame...)
}

// assigned are the members of a slot for frames, assigned in batches of up to 64.
func assigned(a *Assigner, slot int, frames ...[]byte) []uint8 {
	var m memory
	for _, f := range frames {
		m.add(1, f)
	}
	return m.assign(a, slot)
}

func (m *memory) assign(a *Assigner, slot int) (got []uint8) {
	for at := 0; at < len(m.entries); at += 64 {
		a.Assign(m.entries[at:min(at+64, len(m.entries))], m.data, memoryMask)
	}
	for i := range m.entries {
		got = append(got, m.entries[i].Member[slot])
	}
	return got
}

// times counts how often each member stands in a list.
func times(list []uint8) map[uint8]int {
	n := map[uint8]int{}
	for _, m := range list {
		n[m]++
	}
	return n
}

// newAssigner makes an assigner of groups.
func newAssigner(t testing.TB, groups ...Group) *Assigner {
	a := New(Config{})
	_, err := a.Set(groups)
	require.NoError(t, err)
	return a
}

// membersOf are members 1 to n with the weights given, 1 for those without.
func membersOf(n int, weights ...int) (list []Member) {
	for i := range n {
		m := Member{Number: uint8(i + 1), Name: string(rune('a' + i)), Weight: 1}
		if i < len(weights) {
			m.Weight = weights[i]
		}
		list = append(list, m)
	}
	return list
}

// frameOf serializes layers, with lengths and checksums.
func frameOf(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...))
	return b.Bytes()
}

func eth(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: kind}
}

// ends are the two ends of a flow.
type ends struct {
	src, dst         string
	srcPort, dstPort uint16
}

func (e ends) swapped() ends { return ends{e.dst, e.src, e.dstPort, e.srcPort} }

// randomEnds are those of a random flow of IPv4 or IPv6.
func randomEnds(r *rand.Rand, six bool) ends {
	address := func() string {
		ip := make(net.IP, 4)
		if six {
			ip = append(net.IP{0x20, 1, 0xd, 0xb8}, make(net.IP, 12)...)
		}
		for i := len(ip) - 2; i < len(ip); i++ {
			ip[i] = byte(r.Uint32())
		}
		if !six {
			ip[0] = 10
		}
		return ip.String()
	}
	return ends{address(), address(), uint16(r.Uint32()), uint16(r.Uint32())}
}

func (e ends) ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.ParseIP(e.src), DstIP: net.ParseIP(e.dst)}
}

func (e ends) ip6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP(e.src), DstIP: net.ParseIP(e.dst)}
}

func (e ends) six() bool { return net.ParseIP(e.src).To4() == nil }

// packet is a packet of IP of a flow over TCP or UDP.
func (e ends) packet(proto layers.IPProtocol, payload int) []gopacket.SerializableLayer {
	var ip gopacket.SerializableLayer = e.ip4(proto)
	var network gopacket.NetworkLayer = ip.(*layers.IPv4)
	if e.six() {
		six := e.ip6(proto)
		ip, network = six, six
	}
	var over gopacket.SerializableLayer
	if proto == layers.IPProtocolTCP {
		tcp := &layers.TCP{SrcPort: layers.TCPPort(e.srcPort), DstPort: layers.TCPPort(e.dstPort), ACK: true}
		_ = tcp.SetNetworkLayerForChecksum(network)
		over = tcp
	} else {
		udp := &layers.UDP{SrcPort: layers.UDPPort(e.srcPort), DstPort: layers.UDPPort(e.dstPort)}
		_ = udp.SetNetworkLayerForChecksum(network)
		over = udp
	}
	return []gopacket.SerializableLayer{ip, over, gopacket.Payload(make([]byte, payload))}
}

func (e ends) kind() layers.EthernetType {
	if e.six() {
		return layers.EthernetTypeIPv6
	}
	return layers.EthernetTypeIPv4
}

// frame is a frame of Ethernet with a packet of a flow.
func (e ends) frame(t testing.TB, proto layers.IPProtocol) []byte {
	return frameOf(t, append([]gopacket.SerializableLayer{eth(e.kind())}, e.packet(proto, 10)...)...)
}

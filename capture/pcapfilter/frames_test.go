package pcapfilter

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// testFrame is a frame of a file.
type testFrame struct {
	data []byte
	wire int
}

// readPcap returns the Ethernet frames of a pcap file; other link types have none.
func readPcap(t testing.TB, file string) []testFrame {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	var order binary.ByteOrder = binary.LittleEndian
	switch binary.LittleEndian.Uint32(b) {
	case 0xa1b2c3d4, 0xa1b23c4d:
	default:
		order = binary.BigEndian
	}
	if order.Uint32(b[20:])&0xffff != 1 {
		return nil
	}
	var out []testFrame
	for b = b[24:]; len(b) >= 16; {
		n := int(order.Uint32(b[8:]))
		require.GreaterOrEqual(t, len(b), 16+n, file)
		out = append(out, testFrame{b[16 : 16+n : 16+n], int(order.Uint32(b[12:]))})
		b = b[16+n:]
	}
	return out
}

const (
	hostsPcap  = "../../testdata/hosts.pcap"
	moreFrames = "../../../shared/pcaps/*.pcap"
)

// captures are the files that exist: testdata's, and those beside the checkout.
func captures(t testing.TB) []string {
	t.Helper()
	more, err := filepath.Glob(moreFrames)
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only testdata/hosts.pcap is filtered; put pcap files there for more")
	}
	return append([]string{hostsPcap}, more...)
}

// packet builds frames: each call puts bytes behind what is there.
type packet []byte

func (p packet) u8(v ...byte) packet { return append(p, v...) }
func (p packet) u16(v ...uint16) packet {
	for _, x := range v {
		p = binary.BigEndian.AppendUint16(p, x)
	}
	return p
}
func (p packet) u32(v ...uint32) packet {
	for _, x := range v {
		p = binary.BigEndian.AppendUint32(p, x)
	}
	return p
}

func ethernet(kind uint16) packet {
	return packet{}.u8(0x00, 0x1b, 0x21, 0x3c, 0x9d, 0xf8, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x01).u16(kind)
}

func (p packet) vlan(id, next uint16) packet { return p.u16(id|0x2000, next) }

func (p packet) label(n uint32, last uint32) packet { return p.u32(n<<12 | last<<8 | 64) }

// ip4 appends a header of words*4 bytes, options 0.
func (p packet) ip4(words byte, proto byte, fragment uint16, src, dst uint32) packet {
	p = p.u8(0x40|words, 0).u16(60, 7, fragment).u8(64, proto).u16(0).u32(src, dst)
	for ; words > 5; words-- {
		p = p.u32(0)
	}
	return p
}

func (p packet) ip6(next byte, src, dst byte) packet {
	p = p.u32(0x60000000).u16(40).u8(next, 64)
	return p.u32(0x20010db8, 0, 0, uint32(src)).u32(0x20010db8, 0, 0, uint32(dst))
}

func (p packet) tcp(src, dst uint16, flags byte) packet {
	return p.u16(src, dst).u32(1, 2).u8(0x50, flags).u16(1024, 0, 0).u32(0x47455420, 0x2f206162)
}

func (p packet) udp(src, dst uint16) packet {
	return p.u16(src, dst, 16, 0).u32(0xdeadbeef, 0x01020304)
}

func (p packet) arp(op uint16, src, dst uint32) packet {
	return p.u16(1, ether.TypeIPv4).u8(6, 4).u16(op).u8(2, 0, 0x5e, 0x10, 0, 1).u32(src).u8(0, 0, 0, 0, 0, 0).u32(dst)
}

const (
	host1 = 0xc0000201 // 192.0.2.1
	host2 = 0xc6336402 // 198.51.100.2
	host3 = 0x0a010203 // 10.1.2.3
)

// oddFrames are frames that captures lack.
func oddFrames() []packet {
	e := ethernet
	return []packet{
		e(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(40000, 80, 0x02),
		e(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host2, host1).tcp(443, 40001, 0x12),
		e(ether.TypeIPv4).ip4(8, ether.ProtoTCP, 0, host3, host1).tcp(22, 50000, 0x18),
		e(ether.TypeIPv4).ip4(15, ether.ProtoUDP, 0, host1, host3).udp(53, 53),
		e(ether.TypeIPv4).ip4(5, ether.ProtoUDP, 0x2000, host1, host2).udp(5060, 5060), // first fragment
		e(ether.TypeIPv4).ip4(5, ether.ProtoUDP, 0x00b9, host1, host2).udp(53, 80),     // later one
		e(ether.TypeIPv4).ip4(5, ether.ProtoUDP, 0x4000, host3, 0xffffffff).udp(68, 67),
		e(ether.TypeIPv4).ip4(5, ether.ProtoSCTP, 0, host3, host2).udp(80, 3868),
		e(ether.TypeIPv4).ip4(5, ether.ProtoICMP, 0, host1, host2).u8(8, 0).u16(0, 1, 1).u32(1, 2),
		e(ether.TypeIPv4).ip4(5, ether.ProtoICMP, 0, host2, host1).u8(3, 4).u16(0, 0, 1500).ip4(5, ether.ProtoTCP, 0, host1, host2),
		e(ether.TypeIPv4).ip4(5, ether.ProtoIGMP, 0, host1, 0xe00000fb).u8(0x16, 0).u16(0).u32(0xe00000fb),
		e(ether.TypeIPv4).ip4(0, ether.ProtoTCP, 0, host1, host2).tcp(80, 443, 0x10), // a header of no bytes
		e(ether.TypeIPv4).ip4(3, ether.ProtoUDP, 0, host1, host2).udp(53, 53),
		e(ether.TypeIPv4).ip4(5, 47, 0, host1, host2).u16(0, ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host3, host2).tcp(80, 80, 2),
		e(ether.TypeIPv4).ip4(5, ether.ProtoPIM, 0, host1, 0xe000000d).u32(0x20000000),
		e(ether.TypeIPv4).ip4(5, ether.ProtoVRRP, 0, host1, 0xe0000012).u32(0x21010101),
		e(ether.TypeIPv4).ip4(5, ether.ProtoESP, 0, host1, host2).u32(1, 2, 3),
		e(ether.TypeIPv4).ip4(5, ether.ProtoAH, 0, host1, host2).u32(0x06040000, 2, 3, 4),
		e(ether.TypeIPv6).ip6(ether.ProtoTCP, 1, 2).tcp(80, 40000, 0x11),
		e(ether.TypeIPv6).ip6(ether.ProtoUDP, 2, 1).udp(53, 1024),
		e(ether.TypeIPv6).ip6(ether.ProtoICMPv6, 1, 2).u8(128, 0).u16(0, 1, 1).u32(5),
		e(ether.TypeIPv6).ip6(ether.ProtoFragment, 1, 2).u8(ether.ProtoUDP, 0).u16(1).u32(77).udp(53, 53),
		e(ether.TypeIPv6).ip6(ether.ProtoFragment, 1, 2).u8(ether.ProtoTCP, 0).u16(0x0081).u32(77).u32(1, 2, 3, 4),
		e(ether.TypeIPv6).ip6(0, 1, 2).u8(ether.ProtoTCP, 0, 5, 2, 0, 0, 0, 0).tcp(80, 80, 2), // hop-by-hop
		e(ether.TypeIPv6).ip6(43, 1, 2).u8(ether.ProtoUDP, 0, 0, 0).u32(0).udp(53, 53),        // routing
		e(ether.TypeIPv6).ip6(60, 1, 2).u8(ether.ProtoFragment, 0, 1, 4).u32(0).u8(ether.ProtoUDP, 0).u16(0).u32(9).udp(53, 53),
		e(ether.TypeIPv6).ip6(ether.ProtoSCTP, 1, 9).udp(80, 90),
		append(packet{0x33, 0x33, 0, 0, 0, 1}, e(ether.TypeIPv6).ip6(ether.ProtoUDP, 1, 2)[6:]...).udp(5353, 5353),
		e(ether.TypeARP).arp(1, host1, host2),
		append(packet{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, e(ether.TypeARP).arp(1, host3, host1)[6:]...),
		e(ether.TypeRARP).arp(3, 0, host1),
		e(ether.TypeVLAN).vlan(5, ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(40000, 80, 0x02),
		e(ether.TypeVLAN).vlan(12, ether.TypeIPv6).ip6(ether.ProtoUDP, 1, 2).udp(53, 53),
		e(ether.TypeVLAN).vlan(5, ether.TypeARP).arp(2, host1, host3),
		e(ether.TypeQinQ).vlan(100, ether.TypeVLAN).vlan(5, ether.TypeIPv4).ip4(5, ether.ProtoUDP, 0, host3, host2).udp(1234, 53),
		e(ether.TypeQinQOld).vlan(100, ether.TypeVLAN).vlan(200, ether.TypeVLAN).vlan(300, ether.TypeIPv4).ip4(6, ether.ProtoTCP, 0, host3, host2).tcp(8080, 22, 4),
		e(ether.TypeVLAN).vlan(0, ether.TypeMPLS).label(16, 1).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(80, 1, 2),
		e(ether.TypeMPLS).label(1024, 1).ip4(5, ether.ProtoUDP, 0, host1, host2).udp(53, 53),
		e(ether.TypeMPLS).label(100000, 0).label(1024, 1).ip4(5, ether.ProtoTCP, 0, host3, host2).tcp(443, 80, 2),
		e(ether.TypeMPLS).label(100000, 0).label(1024, 0).label(17, 1).ip6(ether.ProtoTCP, 1, 2).tcp(443, 80, 2),
		e(ether.TypeMPLS).label(5, 1).u8(0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
		e(0x8848).label(5, 1).ip4(5, ether.ProtoUDP, 0, host1, host2).udp(53, 53),
		e(ether.TypePPPoED).u8(0x11, 9).u16(0, 8).u32(1, 2),
		e(ether.TypePPPoES).u8(0x11, 0).u16(7, 44, 0x0021).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(80, 40000, 2),
		e(ether.TypePPPoES).u8(0x11, 0).u16(9, 44, 0x0057).ip6(ether.ProtoUDP, 1, 2).udp(53, 40000),
		e(ether.TypePPPoES).u8(0x11, 0).u16(9, 44, 0xc021).u32(0x09010008, 1),
		e(ether.TypePPPoES).u8(0x11, 0).u16(7, 44, 0x0281).label(6, 1).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(80, 40000, 2),
		e(ether.TypeVLAN).vlan(5, ether.TypePPPoES).u8(0x11, 0).u16(7, 44, 0x0021).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(80, 40000, 2),
		e(38).u8(sapSTP, sapSTP, 3).u32(0, 0x00800000, 1, 2, 3, 4, 5, 6),
		e(60).u8(sapSNAP, sapSNAP, 3, 8, 0, 7).u16(typeATalk).u32(1, 2, 3),
		e(60).u8(sapSNAP, sapSNAP, 3, 0, 0, 0).u16(typeAARP).u32(1, 2, 3),
		e(60).u8(sapSNAP, sapSNAP, 3, 0, 0, 0).u16(typeIPX).u32(1, 2, 3),
		e(60).u8(sapSNAP, sapSNAP, 3, 0, 0, 0).u16(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(80, 80, 2),
		e(60).u8(sapISO, sapISO, 3, osiISIS, 27, 1, 0, 15, 1, 0).u32(1, 2, 3),
		e(60).u8(sapISO, sapISO, 3, osiISIS, 27, 1, 0, 20, 1, 0).u32(1, 2, 3),
		e(60).u8(sapISO, sapISO, 3, osiISIS, 27, 1, 0, 26, 1, 0).u32(1, 2, 3),
		e(60).u8(sapISO, sapISO, 3, osiESIS).u32(1, 2, 3),
		e(60).u8(sapISO, sapISO, 3, osiCLNP).u32(1, 2, 3),
		e(60).u8(sapIPX, sapIPX, 3).u32(1, 2, 3),
		e(60).u8(0xff, 0xff).u32(1, 2, 3),
		e(60).u8(sapNetBEUI, sapNetBEUI, 3).u32(1, 2, 3),
		e(60).u8(sapIP, sapIP, 3).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(80, 80, 2),
		e(60).u8(0x10, 0x10, 0x01).u32(1, 2),                    // RR
		e(60).u8(0x10, 0x10, 0x05).u32(1, 2),                    // RNR
		e(60).u8(0x10, 0x10, 0x02).u32(1, 2),                    // I
		e(60).u8(0x10, 0x10, 0x7f).u32(1, 2),                    // SABME with poll
		e(1500).u32(0, 0), e(1501).u32(0, 0), e(typeIPX).u32(1), // lengths and types
		e(typeATalk).u32(1), e(typeAARP).u32(1), e(typeDECnet).u32(1), e(typeLAT).u32(1), e(typeSCA).u32(1),
		e(typeMOPDL).u32(1), e(typeMOPRC).u32(1), e(0x9000).u32(1),
		append(e(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(80, 80, 0x10), make([]byte, 8960)...), // jumbo
		e(ether.TypeIPv4).ip4(5, ether.ProtoAH, 0, host1, host2).u8(ether.ProtoTCP, 1, 0, 0).u32(1, 2).tcp(40000, 80, 2),
		e(ether.TypeIPv6).ip6(0, 1, 2).u8(ether.ProtoAH, 0, 5, 2, 0, 0, 0, 0).u8(60, 1, 0, 0).u32(1, 2).u8(ether.ProtoUDP, 0, 1, 4, 0, 0, 0, 0).udp(53, 53),
		e(ether.TypeIPv6).ip6(43, 1, 2).u8(59, 0, 0, 0).u32(0).u32(1),
		e(typeDECnet).u8(20, 0, 0x26).u8(0, 0, 0xaa, 0, 4, 0, 0x0f, 0x28, 0, 0, 0xaa, 0, 4, 0, 0xff, 0xff).u32(0),
		e(typeDECnet).u8(20, 0, 0x81, 0x0e).u8(0, 0, 0xaa, 0, 4, 0, 0xff, 0xff, 0, 0, 0xaa, 0, 4, 0, 0x0f, 0x28).u32(0),
		e(typeDECnet).u8(6, 0, 0x02, 0x0f, 0x28, 0xff, 0xff, 0).u32(0),
		e(typeDECnet).u8(6, 0, 0x81, 0x0a, 0xff, 0xff, 0x0f, 0x28, 0).u32(0),
	}
}

// tunnelled are the starts of frames up to a header of Geneve or VXLAN, with what
// follows: a frame of Ethernet, or a packet that the header names.
func tunnelled() (out []packet) {
	e := ethernet
	udp := func(p packet, port uint16) packet { return p.u16(40000, port, 80, 0) }
	ip4 := func(p packet, port uint16) packet { return udp(p.ip4(5, ether.ProtoUDP, 0, host3, host2), port) }
	options := func(p packet, ip6 bool, port uint16) packet {
		if ip6 {
			return udp(p.ip6(ether.ProtoUDP, 7, 8), port)
		}
		return udp(p.ip4(7, ether.ProtoUDP, 0, host2, host3), port)
	}
	within := []packet{
		e(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(40000, 80, 0x02),
		e(ether.TypeIPv4).ip4(9, ether.ProtoUDP, 0, host3, host1).udp(53, 53),
		e(ether.TypeIPv6).ip6(ether.ProtoUDP, 1, 2).udp(53, 40000),
		e(ether.TypeARP).arp(1, host1, host2),
		append(packet{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, e(ether.TypeVLAN).vlan(5, ether.TypeIPv4)[6:]...).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(22, 443, 2),
		e(ether.TypeMPLS).label(1024, 1).ip4(5, ether.ProtoUDP, 0, host1, host2).udp(53, 53),
		e(ether.TypePPPoES).u8(0x11, 0).u16(7, 44, 0x0057).ip6(ether.ProtoTCP, 1, 2).tcp(80, 40000, 2),
		e(38).u8(sapSTP, sapSTP, 3).u32(0, 0x00800000, 1, 2, 3, 4, 5, 6),
		ip4(e(ether.TypeIPv4), ether.PortGeneve).u8(0, 0).u16(ether.TypeBridging).u32(7 << 8).u8(e(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(1, 80, 2)...),
	}
	bare := []packet{
		packet{}.u16(ether.TypeIPv4).ip4(5, ether.ProtoTCP, 0, host1, host2).tcp(40000, 80, 0x02),
		packet{}.u16(ether.TypeIPv6).ip6(ether.ProtoUDP, 2, 1).udp(53, 53),
		packet{}.u16(ether.TypeMPLS).label(1024, 1).ip4(5, ether.ProtoUDP, 0, host1, host2).udp(53, 53),
		packet{}.u16(0x88cc).u32(1, 2, 3, 4),
	}
	outer := []packet{
		e(ether.TypeIPv4), e(ether.TypeVLAN).vlan(5, ether.TypeIPv4), e(ether.TypeIPv6), e(ether.TypePPPoES).u8(0x11, 0).u16(7, 60, 0x0021),
		e(ether.TypePPPoES).u8(0x11, 0).u16(7, 60, 0x0057), e(ether.TypeQinQ).vlan(100, ether.TypeVLAN).vlan(5, ether.TypeIPv6),
	}
	clone := func(p packet) packet { return p[:len(p):len(p)] }
	for i, o := range outer {
		six := i == 2 || i >= 4
		for n, w := range within {
			words := byte(n % 3 * 2)
			p := options(clone(o), six, ether.PortGeneve).u8(words, 0).u16(ether.TypeBridging).u32(7 << 8)
			for range words {
				p = p.u32(0x01020304)
			}
			out = append(out, append(p, w...), append(options(clone(o), six, ether.PortVXLAN).u32(0x08000000, 7<<8), w...))
		}
		for n, b := range bare {
			words := byte(n % 2 * 3)
			p := options(clone(o), six, ether.PortGeneve).u8(words, 0).u8(b[:2]...).u32(0xabcdef00)
			for range words {
				p = p.u32(0xa1b2c3d4)
			}
			out = append(out, append(p, b[2:]...))
		}
		out = append(out,
			append(options(clone(o), six, ether.PortGeneve).u8(0x40, 0).u16(ether.TypeBridging).u32(7<<8), within[0]...), // another version
			append(options(clone(o), six, ether.PortVXLAN).u32(0, 7<<8), within[0]...))                                   // no network
	}
	return out
}

// cuts returns each odd frame whole and cut behind each of its first 200 bytes, some in
// tunnels whole only,
// with its length on the wire as it was.
func cuts() []testFrame {
	var out []testFrame
	for i, p := range append(oddFrames(), tunnelled()...) {
		if i >= len(oddFrames()) && i%5 != 0 {
			out = append(out, testFrame{p, len(p)})
			continue
		}
		for n := 0; n < min(len(p), 200); n++ {
			out = append(out, testFrame{p[:n:n], len(p)})
		}
		out = append(out, testFrame{p, len(p)})
	}
	return out
}

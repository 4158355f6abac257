package fanout

import (
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// Keys of the hash, the digits of pi. They are fixed, so that the streams of several
// queues, ports and programs agree: a sender can choose flows that meet in one member,
// as with RSS and PACKET_FANOUT.
const (
	keyEnd   = 0x243f6a8885a308d3
	keyOther = 0x13198a2e03707344
	keyFinal = 0xa4093822299f31d1 // odd
)

const (
	protoDCCP    = 33
	protoUDPLite = 136

	maxHeaders = 32 // of a frame, so that the work for it is bounded
)

// mix is the product of two numbers with its halves combined.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// flowHash is the same for both orders of the two ends of a flow. The protocol is no
// part of it: flows of two protocols between the same ends stay together.
func flowHash(a, b uint64) uint32 { return uint32(mix(a^keyEnd, b^keyEnd) * keyFinal >> 32) }

// end4 is an end of a flow of IPv4 without its port, which is added.
func end4(addr []byte) uint64 { return uint64(binary.LittleEndian.Uint32(addr)) << 16 }

// end6 is an end of a flow of IPv6 without its port, which is added.
func end6(addr []byte) uint64 {
	return mix(binary.LittleEndian.Uint64(addr)^keyEnd, binary.LittleEndian.Uint64(addr[8:])^keyOther) &^ 0xffff
}

func port(b []byte) uint64 { return uint64(binary.LittleEndian.Uint16(b)) }

// walker finds the innermost flow of a frame. A header that is cut or malformed ends
// the walk: the flow is the last one found.
type walker struct {
	data      []byte
	tunnels   Tunnels
	fragments *fragments // nil: in a packet that an ICMP error quotes
	sec       uint32     // the frame's stamp
	headers   int        // seen so far
	a, b      uint64     // ends of the last flow found
	given     bool       // the flow is that of a first fragment, whose hash is known
	hash      uint32
}

// flow is the hash of the flow found.
func (w *walker) flow() uint32 {
	if w.given {
		return w.hash
	}
	return flowHash(w.a, w.b)
}

// flow returns the hash of a frame's flow: of addresses and ports, of the addresses
// without ports, or of the addresses of Ethernet.
func flow(frame []byte, sec uint32, t Tunnels, fragments *fragments) uint32 {
	w := walker{data: frame, sec: sec, tunnels: t, fragments: fragments}
	w.frame(0)
	return w.flow()
}

// has reports whether a header of n bytes at an offset is there to be read, and counts
// it.
func (w *walker) has(at, n int) bool {
	w.headers++
	return at+n <= len(w.data) && w.headers <= maxHeaders
}

func (w *walker) half(at int) uint16 { return binary.BigEndian.Uint16(w.data[at:]) }

// frame follows a frame of Ethernet and its tags.
func (w *walker) frame(at int) {
	if !w.has(at, 14) {
		return
	}
	dst := uint64(w.half(at))<<32 | uint64(binary.BigEndian.Uint32(w.data[at+2:]))
	src := uint64(w.half(at+6))<<32 | uint64(binary.BigEndian.Uint32(w.data[at+8:]))
	w.a, w.b = dst, src
	kind := w.half(at + 12)
	for at += 14; ether.IsVLAN(kind); at += 4 {
		if !w.has(at, 4) {
			return
		}
		kind = w.half(at + 2)
	}
	w.carried(kind, at)
}

// carried follows what a header carries by its type of Ethernet.
func (w *walker) carried(kind uint16, at int) {
	switch kind {
	case ether.TypeIPv4, ether.TypeIPv6:
		w.packet(at)
	case ether.TypeARP, ether.TypeRARP:
		// Of IPv4 on Ethernet (RFC 826): question and answer have the same two
		// protocol addresses.
		if w.has(at, 28) && w.half(at+2) == ether.TypeIPv4 {
			w.a, w.b = end4(w.data[at+14:]), end4(w.data[at+24:])
		}
	case ether.TypePPPoES:
		const ip4, ip6 = 0x21, 0x57
		if w.has(at, 8) && (w.half(at+6) == ip4 || w.half(at+6) == ip6) {
			w.packet(at + 8)
		}
	case ether.TypeMPLS, ether.TypeMPLSUp:
		if w.tunnels&MPLS != 0 {
			w.labels(at)
		}
	case ether.TypeBridging:
		w.frame(at)
	}
}

// labels follows a stack of MPLS.
func (w *walker) labels(at int) {
	what, behind, n := ether.Labels(w.data, at, maxHeaders-w.headers)
	w.headers += n
	w.inside(what, behind)
}

// inside follows what a tunnel carries.
func (w *walker) inside(what ether.Inside, at int) {
	switch what {
	case ether.Packet:
		w.packet(at)
	case ether.Frame:
		w.frame(at)
	}
}

// packet follows a packet of IP.
func (w *walker) packet(at int) {
	if !w.has(at, 20) {
		return
	}
	switch w.data[at] >> 4 {
	case 4:
		w.ipv4(at)
	case 6:
		if at+40 <= len(w.data) {
			w.ipv6(at)
		}
	}
}

// ipv4 follows the header of a packet (RFC 791).
func (w *walker) ipv4(at int) {
	const more, offset = 0x2000, 0x1fff
	size := int(w.data[at]&0xf) * 4
	if size < 20 {
		return
	}
	src, dst, proto := end4(w.data[at+12:]), end4(w.data[at+16:]), w.data[at+9]
	w.a, w.b = src, dst
	if part := w.half(at + 6); part&(more|offset) != 0 {
		id := uint64(proto)<<16 | uint64(w.half(at+4))
		w.fragment(src, dst, id, part&offset == 0, proto, at+size)
		return
	}
	w.above(src, dst, proto, at+size)
}

// ipv6 follows the header of a packet and its extension headers (RFC 8200).
func (w *walker) ipv6(at int) {
	src, dst, next := end6(w.data[at+8:]), end6(w.data[at+24:]), w.data[at+6]
	for at += 40; ; {
		w.a, w.b = src, dst
		switch next {
		case ether.ProtoHopByHop, ether.ProtoRouting, ether.ProtoDestination, ether.ProtoMobility, ether.ProtoHIP, ether.ProtoShim6:
			if !w.has(at, 8) {
				return
			}
			next, at = w.data[at], at+8+8*int(w.data[at+1])
		case ether.ProtoFragment:
			if !w.has(at, 8) {
				return
			}
			inner, part, id := w.data[at], w.half(at+2), uint64(binary.BigEndian.Uint32(w.data[at+4:]))
			next, at = inner, at+8
			if part&^6 != 0 { // not the only one
				w.a, w.b = src, dst
				w.fragment(src, dst, id, part&^7 == 0, next, at)
				return
			}
		default:
			w.above(src, dst, next, at)
			return
		}
	}
}

// above follows what is behind IP and its extension headers.
func (w *walker) above(src, dst uint64, proto uint8, at int) {
	switch proto {
	case ether.ProtoTCP, ether.ProtoSCTP, protoDCCP, protoUDPLite:
		if w.has(at, 4) {
			w.a, w.b = src+port(w.data[at:]), dst+port(w.data[at+2:])
		}
	case ether.ProtoUDP:
		if w.has(at, 4) {
			w.a, w.b = src+port(w.data[at:]), dst+port(w.data[at+2:])
			w.udp(at)
		}
	case ether.ProtoICMP: // errors: unreachable, source quench, redirect, time exceeded, parameter problem
		if w.has(at, 8) && 1<<w.data[at]&(1<<3|1<<4|1<<5|1<<11|1<<12) != 0 {
			w.quoted(at + 8)
		}
	case ether.ProtoICMPv6: // errors: unreachable, too big, time exceeded, parameter problem
		if w.has(at, 8) && w.data[at] >= 1 && w.data[at] <= 4 {
			w.quoted(at + 8)
		}
	case ether.ProtoAH: // RFC 4302
		if w.has(at, 8) {
			next := w.data[at]
			w.a, w.b = src, dst
			w.above(src, dst, next, at+8+4*int(w.data[at+1]))
		}
	case ether.ProtoIPv4, ether.ProtoIPv6:
		if w.tunnels&IPIP != 0 {
			w.packet(at)
		}
	case ether.ProtoMPLS:
		if w.tunnels&MPLS != 0 {
			w.labels(at)
		}
	case ether.ProtoGRE:
		if w.tunnels&GRE != 0 {
			w.gre(at)
		}
	}
}

// quoted follows the packet that an ICMP error quotes: the error belongs to its flow.
func (w *walker) quoted(at int) {
	kept := w.fragments
	w.fragments = nil
	w.packet(at)
	w.fragments = kept
}

// udp follows the tunnels over UDP, by the port they are sent to.
func (w *walker) udp(at int) {
	if !w.has(at, 8) {
		return
	}
	switch to := w.half(at + 2); {
	case to == ether.PortVXLAN && w.tunnels&VXLAN != 0:
		w.headers++
		if frame, ok := ether.VXLAN(w.data, at+8); ok {
			w.frame(frame)
		}
	case to == ether.PortGTPU && w.tunnels&GTPU != 0:
		packet, n, ok := ether.GTPU(w.data, at+8, maxHeaders-w.headers)
		if w.headers += 1 + n; ok {
			w.packet(packet)
		}
	case to == ether.PortMPLS && w.tunnels&MPLS != 0:
		w.labels(at + 8)
	}
}

// gre follows GRE.
func (w *walker) gre(at int) {
	w.headers++
	if kind, behind, _, ok := ether.GRE(w.data, at); ok {
		w.carried(kind, behind)
	}
}

package headers

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// maxHeaders bounds the headers followed in a frame, tags and labels included.
const maxHeaders = 32

// Headers are the offsets of the headers of one packet from the frame's start, and what
// they say of it. Offsets may lie behind the frame's end; -1 means that there is none.
type Headers struct {
	Ethernet  int    // the innermost header of Ethernet so far
	Tags      int    // VLAN tags behind it
	VLAN      uint16 // of the first tag
	InnerVLAN uint16 // of the second one
	Type      uint16 // of what is behind, or the length of an LLC frame
	Network   int    // the packet of IP, or of the type

	Version   uint8  // of IP: 4, 6, or 0 if it is none
	Proto     uint8  // of what is behind IP and its extension headers
	Fragment  bool   // a part of a datagram
	Offset    uint16 // of the part, in bytes
	ID        uint32 // of the datagram
	Transport int    // behind IP and its extension headers
	End       int    // of the packet, by its length field; 0: not known
	Limit     int    // End or that of a packet outside if that is less: padding is behind; 0: not known

	Tunnel   Tunnels // the packet is inside
	TunnelID uint32  // label, key, VNI or TEID

	count int // headers so far
}

// Parse finds the outermost packet of a frame of Ethernet. It returns false if the frame is
// too short for a header of Ethernet.
func (h *Headers) Parse(frame []byte) bool {
	*h = Headers{Ethernet: -1, Network: -1, Transport: -1}
	return h.ethernet(frame, 0)
}

// has reports if a header of n bytes at an offset is there to be read, and counts it.
func (h *Headers) has(data []byte, at, n int) bool {
	h.count++
	return at+n <= len(data) && h.count <= maxHeaders
}

// ethernet follows a header of Ethernet and its tags.
func (h *Headers) ethernet(data []byte, at int) bool {
	if !h.has(data, at, 14) {
		return false
	}
	h.Ethernet, h.Tags, h.Version, h.Transport = at, 0, 0, -1
	h.VLAN, h.InnerVLAN = 0, 0
	kind := binary.BigEndian.Uint16(data[at+12:])
	for at += 14; ether.IsVLAN(kind); at += 4 {
		if !h.has(data, at, 4) {
			h.Type, h.Network = kind, at
			return true
		}
		switch id := binary.BigEndian.Uint16(data[at:]) & 0xfff; h.Tags {
		case 0:
			h.VLAN = id
		case 1:
			h.InnerVLAN = id
		}
		h.Tags++
		kind = binary.BigEndian.Uint16(data[at+2:])
	}
	h.carried(data, kind, at)
	return true
}

// carried follows what a header carries by its type of Ethernet.
func (h *Headers) carried(data []byte, kind uint16, at int) {
	h.Type, h.Network = kind, at
	switch kind {
	case ether.TypeIPv4, ether.TypeIPv6:
		h.packet(data, at)
	case ether.TypePPPoES:
		const ip4, ip6 = 0x21, 0x57
		if !h.has(data, at, 8) {
			return
		}
		if p := binary.BigEndian.Uint16(data[at+6:]); p == ip4 || p == ip6 {
			h.packet(data, at+8)
		}
	case ether.TypeBridging:
		h.ethernet(data, at)
	}
}

// packet follows a packet of IP. It changes nothing if there is none.
func (h *Headers) packet(data []byte, at int) bool {
	if !h.has(data, at, 20) {
		return false
	}
	switch data[at] >> 4 {
	case 4:
		return h.ipv4(data, at)
	case 6:
		return at+40 <= len(data) && h.ipv6(data, at)
	}
	return false
}

// ipv4 follows the header of a packet (RFC 791).
func (h *Headers) ipv4(data []byte, at int) bool {
	const more, offset = 0x2000, 0x1fff
	size := int(data[at]&0xf) * 4
	if size < 20 {
		return false
	}
	h.Type, h.Network, h.Version, h.End = ether.TypeIPv4, at, 4, 0
	if n := int(binary.BigEndian.Uint16(data[at+2:])); n >= size {
		h.ends(at + n)
	}
	h.part(binary.BigEndian.Uint16(data[at+6:])&(more|offset), uint32(binary.BigEndian.Uint16(data[at+4:])))
	h.behind(data, data[at+9], at+size)
	return true
}

// ends is that the packet ends at an offset.
func (h *Headers) ends(at int) {
	h.End = at
	if h.Limit == 0 || at < h.Limit {
		h.Limit = at
	}
}

// Within returns the frame without the padding behind its packets.
func (h *Headers) Within(frame []byte) []byte {
	if h.Limit > 0 && h.Limit < len(frame) {
		return frame[:h.Limit]
	}
	return frame
}

// part takes the field of a datagram's parts as IPv4 has it: the flag of more parts, and the
// offset in 8 bytes.
func (h *Headers) part(field uint16, id uint32) {
	h.Fragment, h.Offset, h.ID = field != 0, field<<3, id
}

// behind is that a header follows IP. That of authentication (RFC 4302) is skipped.
func (h *Headers) behind(data []byte, proto uint8, at int) {
	for proto == ether.ProtoAH && !(h.Fragment && h.Offset != 0) {
		if !h.has(data, at, 8) {
			at = -1
			break
		}
		proto, at = data[at], at+8+4*int(data[at+1])
	}
	h.Proto, h.Transport = proto, at
}

// ipv6 follows the header of a packet and its extension headers (RFC 8200).
func (h *Headers) ipv6(data []byte, at int) bool {
	h.Type, h.Network, h.Version, h.End = ether.TypeIPv6, at, 6, 0
	if n := int(binary.BigEndian.Uint16(data[at+4:])); n > 0 {
		h.ends(at + 40 + n)
	}
	h.part(0, 0)
	next := data[at+6]
	for at += 40; ; {
		switch next {
		case ether.ProtoHopByHop, ether.ProtoRouting, ether.ProtoDestination, ether.ProtoMobility,
			ether.ProtoHIP, ether.ProtoShim6, ether.ProtoAH:
		case ether.ProtoFragment:
		default:
			h.Proto, h.Transport = next, at
			return true
		}
		if !h.has(data, at, 8) {
			h.Proto, h.Transport = next, -1
			return true
		}
		unit, size := 8, int(data[at+1])
		switch next {
		case ether.ProtoAH:
			unit = 4
		case ether.ProtoFragment:
			const reserved = 6
			field := binary.BigEndian.Uint16(data[at+2:]) &^ reserved
			h.part(field>>3|field<<13, binary.BigEndian.Uint32(data[at+4:]))
			size = 0
		}
		next, at = data[at], at+8+unit*size
		if h.Fragment && h.Offset != 0 {
			h.Proto, h.Transport = next, at
			return true
		}
	}
}

package flow

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// Numbers of protocols, from IANA's registries.
const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeLLC  = 1500 // and below: the field is a length

	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

// packet is what a packet says of its flow.
type packet struct {
	key     key
	hash    uint64
	time    int64
	ref     ref  // of the entry that may be its flow's; 0: none found yet
	swapped bool // the sender is end b of the key
	isTCP   bool // with a header that is not cut
	whole   bool // of TCP, and no fragment: seq and length are valid
	flags   uint8
	size    uint16 // of the frame
	window  uint16
	seq     uint32
	ack     uint32
	length  uint32 // of the segment, SYN and FIN count
	payload int    // offset in the frame; -1: none
	end     int    // of the payload
	srcMAC  MAC
	dstMAC  MAC
}

// parse reads the headers of a packet.
func (e *Engine) parse(p *packet, in *stream.Packet) {
	*p = packet{time: in.UnixNano(), size: in.Len, payload: -1}
	data := in.Data
	h := &e.headers
	if h.Parse(data) {
		p.dstMAC, p.srcMAC = MAC(data[:6]), MAC(data[6:12])
	}
	e.dated = e.dated[:0]
	known := e.part(p, data)
	for !known && h.Inner(data, e.tunnels) {
		if h.Ethernet > 0 {
			p.dstMAC, p.srcMAC = MAC(data[h.Ethernet:]), MAC(data[h.Ethernet+6:])
		}
		known = e.part(p, data)
	}
	if !known {
		e.identify(p, data, in)
	}
	for _, id := range e.dated {
		e.fragments.put(id, p)
	}
	p.end = len(h.Within(data))
}

// part looks a fragment up. It returns true if the flow of its datagram is known, and notes
// a first fragment, whose flow will be known.
func (e *Engine) part(p *packet, data []byte) bool {
	h := &e.headers
	if !h.Fragment || h.Version == 0 {
		return false
	}
	id := e.datagram(data)
	if h.Offset == 0 {
		if len(e.dated) < cap(e.dated) {
			e.dated = append(e.dated, id)
		}
		return false
	}
	f := e.fragments.find(id, p.time)
	if f == nil {
		return false
	}
	p.key, p.swapped, f.time = f.key, f.swapped, p.time
	return true
}

// addresses writes both addresses of a packet of IP to a key.
func addresses(k *key, data []byte, version uint8, at int) {
	if version == 4 {
		k[0] = uint64(binary.LittleEndian.Uint32(data[at+12:]))
		k[2] = uint64(binary.LittleEndian.Uint32(data[at+16:]))
		return
	}
	k[0], k[1] = binary.LittleEndian.Uint64(data[at+8:]), binary.LittleEndian.Uint64(data[at+16:])
	k[2], k[3] = binary.LittleEndian.Uint64(data[at+24:]), binary.LittleEndian.Uint64(data[at+32:])
}

// datagram identifies the datagram of a fragment. The protocol is no part of it: in IPv6 only
// the first fragment has it.
func (e *Engine) datagram(data []byte) uint64 {
	h := &e.headers
	k := key{4: uint64(h.ID), 5: uint64(h.Version)<<32 | uint64(h.TunnelID)}
	addresses(&k, data, h.Version, h.Network)
	return k.hash(&e.seeds) | 1
}

// identify computes the key of the packet that the headers are of.
func (e *Engine) identify(p *packet, data []byte, in *stream.Packet) {
	h := &e.headers
	k := &p.key
	k[5] = uint64(h.Tunnel)<<56 | uint64(h.TunnelID)
	if h.Version == 0 {
		k[0], k[2] = number(p.srcMAC), number(p.dstMAC)
		k[5] |= byMAC
		if h.Type > typeLLC {
			k[5] |= uint64(h.Type) << 32
		}
		if h.Network >= 0 {
			p.payload = h.Network
		}
	} else {
		addresses(k, data, h.Version, h.Network)
		k[5] |= uint64(h.Type)<<32 | uint64(h.Proto)<<48
		if h.Transport >= 0 && !(h.Fragment && h.Offset != 0) {
			k[4] = e.transport(p, data)
		}
	}
	if e.vlan {
		k[4] |= e.tags(in)
	}
	p.swapped = !e.oneWay && k.arrange()
}

// tags are the ids of the first two VLAN tags behind the last header of Ethernet, in their
// place of the key. A device may have removed the frame's first one.
func (e *Engine) tags(in *stream.Packet) uint64 {
	const removed = ring.HasVLAN | ring.Stripped
	if in.Info&removed == removed && e.headers.Ethernet == 0 {
		return uint64(in.VLAN&0xfff)<<32 | uint64(e.headers.VLAN)<<48
	}
	return uint64(e.headers.VLAN)<<32 | uint64(e.headers.InnerVLAN)<<48
}

func number(m MAC) uint64 {
	return uint64(binary.LittleEndian.Uint32(m[:]))<<16 | uint64(binary.LittleEndian.Uint16(m[4:]))
}

// transport reads the header behind IP and returns the ports, the source in the lower half.
func (e *Engine) transport(p *packet, data []byte) uint64 {
	h := &e.headers
	at := h.Transport
	data = h.Within(data)
	if at > len(data) {
		return 0
	}
	b := data[at:]
	size := 0
	switch h.Proto {
	case protoTCP:
		size = -1 // set by segment
		if len(b) >= headerT {
			end := h.End
			if h.Fragment {
				end = 0
			}
			p.segment(b, at, end)
		}
	case protoUDP, protoUDPLite:
		size = 8
	case protoSCTP:
		size = 12
	case protoDCCP:
		size = 4 * int(at8(b, 4))
	case protoICMP, protoICMPv6:
		p.payload = at + 8
		return icmp(b, h.Proto, e.oneWay)
	default:
		p.payload = at
		return 0
	}
	if size >= 0 {
		p.payload = at + size
	}
	if len(b) < 4 {
		return 0
	}
	return ports(b)
}

func at8(b []byte, i int) uint8 {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// Queries of ICMP (RFC 792, 950, 4443) by the bit of their type.
const (
	queries4 = 1<<8 | 1<<13 | 1<<15 | 1<<17
	answers4 = 1<<0 | 1<<14 | 1<<16 | 1<<18
	echo6    = 128
)

// icmp returns the ports of a message.
func icmp(b []byte, proto uint8, oneWay bool) uint64 {
	if len(b) < 2 {
		return 0
	}
	kind := b[0]
	var query, answer bool
	asked := kind // the type of the query
	if proto == protoICMP {
		query = kind < 32 && queries4>>kind&1 != 0
		if answer = kind < 32 && answers4>>kind&1 != 0; answer {
			if asked = kind - 1; kind == 0 {
				asked = 8
			}
		}
	} else {
		query, answer = kind == echo6, kind == echo6+1
		if answer {
			asked = echo6
		}
	}
	code := uint64(b[0])<<8 | uint64(b[1])
	if !query && !answer || len(b) < 6 {
		return code << 16
	}
	id := uint64(binary.BigEndian.Uint16(b[4:]))
	if query || oneWay {
		return id | code<<16
	}
	return id<<16 | uint64(asked)<<8 | uint64(b[1])
}

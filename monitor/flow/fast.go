package flow

import (
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// Offsets in a frame without tags, and types as they are loaded.
const (
	atType = 12
	atIP   = 14

	loaded4 = typeIPv4>>8 | typeIPv4&0xff<<8
	loaded6 = typeIPv6>>8 | typeIPv6&0xff<<8

	header4 = 20
	header6 = 40
	headerT = 20 // of TCP without options, which UDP's fits in
)

// parseFast is parse for most packets: TCP or UDP in IPv4 without options or fragments, or in
// IPv6 without extension headers, no tags and no tunnels. It returns false for others.
func (e *Engine) parseFast(p *packet, in *stream.Packet) bool {
	data := in.Data
	if len(data) < atIP+header4+headerT || e.vlan && in.Info&ring.Stripped != 0 {
		return false
	}
	var proto uint8
	var transport, end int
	switch le := binary.LittleEndian; le.Uint16(data[atType:]) {
	case loaded4:
		const fragment = 0x3fff
		proto = data[atIP+9]
		if data[atIP] != 0x45 || binary.BigEndian.Uint16(data[atIP+6:])&fragment != 0 {
			return false
		}
		transport, end = atIP+header4, atIP+int(binary.BigEndian.Uint16(data[atIP+2:]))
		p.key = key{
			0: uint64(le.Uint32(data[atIP+12:])), 2: uint64(le.Uint32(data[atIP+16:])),
			5: typeIPv4<<32 | uint64(proto)<<48,
		}
	case loaded6:
		proto = data[atIP+6]
		if len(data) < atIP+header6+headerT || data[atIP]>>4 != 6 {
			return false
		}
		transport, end = atIP+header6, atIP+header6+int(binary.BigEndian.Uint16(data[atIP+4:]))
		p.key = key{
			le.Uint64(data[atIP+8:]), le.Uint64(data[atIP+16:]), le.Uint64(data[atIP+24:]), le.Uint64(data[atIP+32:]),
			5: typeIPv6<<32 | uint64(proto)<<48,
		}
	default:
		return false
	}
	if end < transport+headerT && (proto == protoTCP || end < transport+4) || transport+headerT > len(data) {
		return false
	}
	p.time, p.size, p.ref = in.UnixNano(), in.Len, 0
	p.isTCP, p.whole, p.flags, p.window, p.seq, p.ack, p.length = false, false, 0, 0, 0, 0, 0
	p.dstMAC, p.srcMAC = MAC(data[:6]), MAC(data[6:12])
	p.end = min(end, len(data))
	switch b := data[transport : transport+headerT]; {
	case proto == protoTCP:
		p.segment(b, transport, end)
	case proto == protoUDP && e.tunnels == 0:
		p.payload = transport + 8
	default:
		return false
	}
	p.key[4] = ports(data[transport:])
	p.swapped = !e.oneWay && p.key.arrange()
	return true
}

// segment reads a header of TCP (RFC 9293) of a packet that ends at an offset.
func (p *packet) segment(b []byte, at, end int) {
	_ = b[headerT-1]
	p.isTCP = true
	p.seq, p.ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	p.flags, p.window = b[13], binary.BigEndian.Uint16(b[14:])
	header := int(b[12]>>4) * 4
	p.payload = -1
	if header < headerT {
		return
	}
	p.payload = at + header
	if end == 0 {
		return
	}
	p.whole = true
	p.length = uint32(max(0, end-p.payload)) + uint32(p.flags>>FIN&1) + uint32(p.flags>>SYN&1)
}

// ports reads the ports that most transport headers begin with, as the key has them.
func ports(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b)) | uint64(binary.BigEndian.Uint16(b[2:]))<<16
}

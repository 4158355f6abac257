package probe

import "encoding/binary"

// Size of a mark in bytes.
const Size = 18

// Mark is what a generated frame carries.
type Mark struct {
	Stream uint8
	Seq    uint64 // in its stream, 48 bits
	Sent   int64  // ns since 1970
}

// Put writes the mark to b, of at least Size bytes.
func (m Mark) Put(b []byte) {
	_ = b[Size-1]
	b[0], b[1], b[2], b[3] = 'i', 'x', 'p', m.Stream
	binary.BigEndian.PutUint16(b[4:], uint16(m.Seq>>32))
	binary.BigEndian.PutUint32(b[6:], uint32(m.Seq))
	binary.BigEndian.PutUint64(b[10:], uint64(m.Sent))
}

// Sum is the sum of the words of the mark, for a checksum (RFC 1071).
func (m Mark) Sum() uint32 {
	return 'i'<<8 | 'x' + uint32('p')<<8 + uint32(m.Stream) + words(m.Seq&(1<<48-1)) + words(uint64(m.Sent))
}

func words(v uint64) uint32 {
	return uint32(v>>48) + uint32(v>>32&0xffff) + uint32(v>>16&0xffff) + uint32(v&0xffff)
}

// Parse returns the mark of a frame, and whether it has one: behind Ethernet, up to two
// VLAN tags, IPv4 without fragments or IPv6 without extension headers, and UDP or TCP.
func Parse(frame []byte) (m Mark, ok bool) {
	b := payload(frame)
	if len(b) < Size || b[0] != 'i' || b[1] != 'x' || b[2] != 'p' {
		return m, false
	}
	m.Stream = b[3]
	m.Seq = uint64(binary.BigEndian.Uint16(b[4:]))<<32 | uint64(binary.BigEndian.Uint32(b[6:]))
	m.Sent = int64(binary.BigEndian.Uint64(b[10:]))
	return m, m.Sent >= 0
}

// payload returns what follows the header of UDP or TCP, nil if there is none.
func payload(f []byte) []byte {
	at := 12
	for range 2 {
		if len(f) >= at+4 && (f[at] == 0x81 && f[at+1] == 0 || f[at] == 0x88 && f[at+1] == 0xa8) {
			at += 4
		}
	}
	if len(f) < at+2+20 {
		return nil
	}
	kind, ip := binary.BigEndian.Uint16(f[at:]), f[at+2:]
	var protocol byte
	switch {
	case kind == 0x0800 && ip[0]>>4 == 4 && binary.BigEndian.Uint16(ip[6:])&0x3fff == 0:
		head := int(ip[0]&15) * 4
		if head < 20 || len(ip) < head {
			return nil
		}
		protocol, ip = ip[9], ip[head:]
	case kind == 0x86dd && ip[0]>>4 == 6 && len(ip) >= 40:
		protocol, ip = ip[6], ip[40:]
	default:
		return nil
	}
	switch {
	case protocol == 17 && len(ip) >= 8:
		return ip[8:]
	case protocol == 6 && len(ip) >= 20:
		if head := int(ip[12]>>4) * 4; head >= 20 && len(ip) >= head {
			return ip[head:]
		}
	}
	return nil
}

package packet

import (
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// A super-frame is a row of segments of one flow under one header: of TCP or UDP, joined
// by GRO or LRO, or left unsplit by a sender on this host. The ring's memory keeps their
// payload, and each segment gets headers of its own in the source's memory:
//
//	super-frame   | headers | payload 0 | payload 1 | payload 2 |
//	segment 1     | headers with sequence number, lengths, flags, checksums | -> payload 1
type superFrame struct {
	headers   []byte // Ethernet to TCP or UDP
	payload   []byte // of the segments that are left
	size      int    // of their payloads but the last
	network   int    // offset of the IP header
	transport int
	ipv6, udp bool
	keepID    bool // all segments have the IPv4 identification of the first
	number    int  // of the next segment
	frame     ring.Frame
	stamp     clock.Stamp
}

const (
	headerRoom = 160 // Ethernet, two tags, IPv4 and TCP with all options
	ipv4Bytes  = 20
	ipv6Bytes  = 40
	tcpBytes   = 20
	udpBytes   = 8

	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeQinQ = 0x88a8
	protoTCP = 6
	protoUDP = 17

	flagFIN, flagPSH, flagCWR = 0x01, 0x08, 0x80
)

// newSuperFrame reads the headers of a frame with so many bytes of payload a segment. It
// reports false if it is none that can be split.
func newSuperFrame(b []byte, size int) (s superFrame, ok bool) {
	at := addresses
	for range 2 {
		if t := be16(b, at); t == typeVLAN || t == typeQinQ {
			at += tagBytes
		}
	}
	s = superFrame{network: at + 2, size: size}
	end, proto := len(b), byte(0)
	switch ip := b[min(s.network, len(b)):]; {
	case be16(b, at) == typeIPv4 && len(ip) >= ipv4Bytes && ip[0]>>4 == 4:
		s.transport, proto = s.network+int(ip[0]&15)*4, ip[9]
		if be16(ip, 6)&0x3fff != 0 { // a fragment
			return s, false
		}
		const dontFragment = 0x4000
		s.keepID = be16(ip, 4) == 0 && be16(ip, 6)&dontFragment != 0
		if total := int(be16(ip, 2)); total != 0 {
			end = min(end, s.network+total)
		}
	case be16(b, at) == typeIPv6 && len(ip) >= ipv6Bytes && ip[0]>>4 == 6:
		s.transport, proto, s.ipv6 = s.network+ipv6Bytes, ip[6], true
		if length := int(be16(ip, 4)); length != 0 {
			end = min(end, s.transport+length)
		}
	}
	header := s.transport + udpBytes
	switch s.udp = proto == protoUDP; {
	case proto == protoTCP && s.transport+tcpBytes <= end && s.transport >= s.network+ipv4Bytes:
		header = s.transport + int(b[s.transport+12]>>4)*4
		if header < s.transport+tcpBytes {
			return s, false
		}
	case !s.udp || s.transport < s.network+ipv4Bytes:
		return s, false
	}
	if size == 0 || header >= end || header > headerRoom {
		return s, false
	}
	s.headers, s.payload = b[:header], b[header:end]
	return s, true
}

// be16 is the 16-bit number at an offset of b, 0 beyond its end.
func be16(b []byte, at int) uint16 {
	if at+2 > len(b) {
		return 0
	}
	return binary.BigEndian.Uint16(b[at:])
}

// next describes the next segment, with its headers in room and its payload in rest.
func (s *superFrame) next(f *ring.Frame, room []byte, rest [][]byte) {
	n := min(s.size, len(s.payload))
	rest[0] = s.payload[:n:n]
	s.payload = s.payload[n:]
	h := room[:len(s.headers):len(s.headers)]
	copy(h, s.headers)
	ip, l4 := h[s.network:], h[s.transport:]
	if s.ipv6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)+n))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+n))
		if !s.keepID {
			binary.BigEndian.PutUint16(ip[4:], be16(ip, 4)+uint16(s.number))
		}
		binary.LittleEndian.PutUint16(ip[10:], 0)
		binary.LittleEndian.PutUint16(ip[10:], ^fold(sum(h[s.network:s.transport], 0)))
	}
	field, proto := 16, byte(protoTCP)
	if s.udp {
		field, proto = 6, protoUDP
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)+n))
	} else {
		binary.BigEndian.PutUint32(l4[4:], binary.BigEndian.Uint32(l4[4:])+uint32(s.number*s.size))
		if s.number > 0 {
			l4[13] &^= flagCWR
		}
		if len(s.payload) > 0 {
			l4[13] &^= flagFIN | flagPSH
		}
	}
	pseudo := [8]byte{3: proto}
	binary.BigEndian.PutUint32(pseudo[4:], uint32(len(l4)+n))
	binary.LittleEndian.PutUint16(l4[field:], 0)
	total := sum(s.addresses(ip), sum(pseudo[:], 0))
	putChecksum(l4[field:], sum(rest[0], sum(l4, total)))
	s.number++
	*f = s.frame
	f.Data, f.Rest, f.Len = h, rest[:1:1], uint32(len(h)+n)
}

// addresses are those of an IP header.
func (s *superFrame) addresses(ip []byte) []byte {
	if s.ipv6 {
		return ip[8:40]
	}
	return ip[12:20]
}

// sum adds b to a sum of 16-bit numbers in ones' complement (RFC 1071). Of several parts
// only the last may have an odd length.
func sum(b []byte, s uint64) uint64 {
	var carry uint64
	for ; len(b) >= 8; b = b[8:] {
		s, carry = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s += carry
	}
	var tail [8]byte
	copy(tail[:], b)
	s, carry = bits.Add64(s, binary.LittleEndian.Uint64(tail[:]), 0)
	return s + carry
}

// fold returns a sum in 16 bits.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// putChecksum stores the checksum of a sum of TCP or UDP. 0 stands for none in UDP
// (RFC 768), and 0xffff is the same number.
func putChecksum(field []byte, s uint64) {
	c := ^fold(s)
	if c == 0 {
		c = 0xffff
	}
	binary.LittleEndian.PutUint16(field, c)
}

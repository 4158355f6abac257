package pcapfront

import (
	"encoding/binary"
	"hash/fnv"
)

// sharer is the reference for sharing packets by flow: both directions of a 5-tuple, and
// the fragments of a datagram with its first one, have the same share. IPv6 packets with
// extension headers, and all that is not IP, are shared by addresses alone.
type sharer struct {
	fragments map[string]uint32 // addresses, protocol and id of a datagram: its flow
}

// flow returns a number that all packets of a flow have. It keeps the ports of first
// fragments for those that follow.
func (s *sharer) flow(frame []byte) uint32 {
	at := 12
	for len(frame) >= at+4 && (be16(frame, at) == 0x8100 || be16(frame, at) == 0x88a8) {
		at += 4
	}
	if len(frame) < at+2 {
		return 0
	}
	kind, ip := be16(frame, at), frame[at+2:]
	switch {
	case kind == 0x0800 && len(ip) >= 20:
		return s.flow4(ip)
	case kind == 0x86dd && len(ip) >= 40:
		return number(ip[8:24], ip[24:40], ip[6], ip[40:])
	}
	return number(frame[:6], frame[6:12], 0, nil)
}

func (s *sharer) flow4(ip []byte) uint32 {
	header := min(int(ip[0]&15)*4, len(ip))
	part := be16(ip, 6) & 0x3fff // more fragments, and the offset
	if part&0x1fff == 0 {
		flow := number(ip[12:16], ip[16:20], ip[9], ip[header:])
		if part != 0 {
			s.fragments[datagramKey(ip)] = flow
		}
		return flow
	}
	if flow, known := s.fragments[datagramKey(ip)]; known {
		return flow
	}
	return number(ip[12:16], ip[16:20], ip[9], nil)
}

func datagramKey(ip []byte) string { return string(ip[4:6]) + string(ip[9:10]) + string(ip[12:20]) }

// number hashes the two sides of a flow in either order; ports are those of TCP, UDP and SCTP.
func number(a, b []byte, proto byte, transport []byte) uint32 {
	var ports [4]byte
	if proto == 6 || proto == 17 || proto == 132 {
		copy(ports[:], transport)
	}
	side := func(addr, port []byte) uint32 {
		h := fnv.New32a()
		h.Write(addr)
		h.Write(port)
		return h.Sum32()
	}
	return (side(a, ports[:2]) + side(b, ports[2:])) ^ uint32(proto)
}

func be16(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }

// share splits packets into n parts with whole flows, each in file order.
func share(packets []packet, n int) [][]packet {
	s := sharer{fragments: map[string]uint32{}}
	parts := make([][]packet, n)
	for _, p := range packets {
		at := int(s.flow(p.data)*2654435761>>16) % n
		parts[at] = append(parts[at], p)
	}
	return parts
}

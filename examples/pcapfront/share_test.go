package pcapfront

import (
	"encoding/binary"
	"hash/fnv"
)

// sharer is the reference for sharing packets by flow: both directions of a 5-tuple, and
// the fragments of a datagram with its first one, have the same share. IPv6 packets with
// extension headers, and all that is not IP, are shared by addresses alone.
type sharer struct {
	fragments map[string]string // addresses, protocol and id of a datagram: its flow
}

// flow returns a name that all packets of a flow have. It keeps the ports of first
// fragments for those that follow.
func (s *sharer) flow(frame []byte) string {
	at := 12
	for len(frame) >= at+4 && (be16(frame, at) == 0x8100 || be16(frame, at) == 0x88a8) {
		at += 4
	}
	if len(frame) < at+2 {
		return ""
	}
	kind, ip := be16(frame, at), frame[at+2:]
	switch {
	case kind == 0x0800 && len(ip) >= 20:
		return s.flow4(ip)
	case kind == 0x86dd && len(ip) >= 40:
		return flowOf(ip[8:24], ip[24:40], ip[6], ip[40:])
	}
	return flowOf(frame[:6], frame[6:12], 0, nil)
}

func (s *sharer) flow4(ip []byte) string {
	header := min(int(ip[0]&15)*4, len(ip))
	part := be16(ip, 6) & 0x3fff // more fragments, and the offset
	if part&0x1fff == 0 {
		flow := flowOf(ip[12:16], ip[16:20], ip[9], ip[header:])
		if part != 0 {
			s.fragments[datagramKey(ip)] = flow
		}
		return flow
	}
	if flow, known := s.fragments[datagramKey(ip)]; known {
		return flow
	}
	return flowOf(ip[12:16], ip[16:20], ip[9], nil)
}

func datagramKey(ip []byte) string { return string(ip[4:6]) + string(ip[9:10]) + string(ip[12:20]) }

// flowOf names the two sides of a flow in either order; ports are those of TCP, UDP and SCTP.
func flowOf(a, b []byte, proto byte, transport []byte) string {
	var ports [4]byte
	if hasPorts(proto) {
		copy(ports[:], transport)
	}
	one, other := string(a)+string(ports[:2]), string(b)+string(ports[2:])
	return min(one, other) + max(one, other) + string([]byte{proto})
}

func hasPorts(proto byte) bool { return proto == 6 || proto == 17 || proto == 132 }

func be16(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }

// share splits packets into n parts with whole flows, each in file order.
func share(packets []packet, n int) [][]packet {
	s := sharer{fragments: map[string]string{}}
	parts := make([][]packet, n)
	for _, p := range packets {
		h := fnv.New32a()
		h.Write([]byte(s.flow(p.data)))
		at := int(h.Sum32()>>8) % n
		parts[at] = append(parts[at], p)
	}
	return parts
}

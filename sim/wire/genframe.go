package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
)

// Generated frames are Ethernet, with an optional 802.1Q tag, IPv4, and UDP or TCP,
// with valid checksums. Each has a 64-bit sequence number:
//
//	UDP: payload = "ixcp" | sequence number, big-endian | random bytes
//	TCP: sequence number field = its low half, acknowledgment field = its high
//	     half (60 bytes leave no room in the payload); payload random
const genMagic = "ixcp"

var (
	genSource = [6]byte{0x02, 'i', 'x', 'c', 'a', 1} // locally administered
	genTarget = [6]byte{0x02, 'i', 'x', 'c', 'a', 2}
)

const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8

	ipHeader  = 20 // bytes, without options
	tcpHeader = 20
	udpHeader = 8
	protoTCP  = 6
	protoUDP  = 17
)

type frameKind struct {
	tcp  bool
	vlan uint16 // 0: no tag
}

// layout has the offsets in frames of one kind.
type layout struct {
	ip   int // IPv4 header
	l4   int // UDP or TCP header
	seq  int // 8 bytes of sequence number
	csum int // UDP or TCP checksum
	tcp  bool
}

func (k frameKind) layout() layout {
	l := layout{ip: 14, tcp: k.tcp}
	if k.vlan != 0 {
		l.ip += 4
	}
	l.l4 = l.ip + ipHeader
	if k.tcp {
		l.seq, l.csum = l.l4+4, l.l4+16
	} else {
		l.seq, l.csum = l.l4+udpHeader+len(genMagic), l.l4+6
	}
	return l
}

// marks writes sequence numbers into the frames of slots.
type marks struct {
	layout
	sums []uint32 // per slot: sum of pseudo header and segment with sequence number and checksum 0
}

// write sets the sequence number of data, the frame of slot i. The checksum is the
// slot's without the number plus the number's four words (RFC 1624), so the cost does
// not depend on the frame's length.
func (m *marks) write(data []byte, i int, seq uint64) {
	sum := uint64(m.sums[i]) + seq>>32 + seq&0xffffffff // below 2^34
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	csum := ^uint16(sum>>16 + sum)
	if m.tcp {
		seq = bits.RotateLeft64(seq, 32)
	} else if csum == 0 {
		csum = 0xffff // 0 means no checksum (RFC 768)
	}
	binary.BigEndian.PutUint64(data[m.seq:], seq)
	binary.BigEndian.PutUint16(data[m.csum:], csum)
}

// build fills b with a frame of the flow and returns its value for marks.sums.
func (k frameKind) build(b []byte, l layout, flow uint32, random *rand.Rand) uint32 {
	copy(b, genTarget[:])
	copy(b[6:], genSource[:])
	if k.vlan != 0 {
		binary.BigEndian.PutUint16(b[12:], etherVLAN)
		binary.BigEndian.PutUint16(b[14:], k.vlan)
	}
	binary.BigEndian.PutUint16(b[l.ip-2:], etherIPv4)

	// The flow's number is in the two addresses, so 5-tuples are distinct; the source
	// port varies with it, for hashes of ports. 198.18.0.0/15 is for benchmarks (RFC
	// 2544). Port 9 is discard: analysers do not parse the payload.
	ip := b[l.ip:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[6:], 0x4000) // don't fragment
	ip[8] = 64
	ip[9] = protoUDP
	if k.tcp {
		ip[9] = protoTCP
	}
	binary.BigEndian.PutUint32(ip[12:], 198<<24|18<<16|flow&0xffff)
	binary.BigEndian.PutUint32(ip[16:], 198<<24|19<<16|flow>>16)
	binary.BigEndian.PutUint16(ip[10:], ^fold(sumWords(0, ip[:ipHeader])))

	l4 := b[l.l4:]
	mixed := flow * 0x9e3779b1
	binary.BigEndian.PutUint16(l4, 1024+uint16(mixed>>16)%64000)
	binary.BigEndian.PutUint16(l4[2:], 9)
	payload := l4[udpHeader:]
	if k.tcp {
		payload = l4[tcpHeader:]
		l4[12] = tcpHeader / 4 << 4
		l4[13] = 0x18 // PSH, ACK
		binary.BigEndian.PutUint16(l4[14:], 0xffff)
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
		copy(payload, genMagic)
		payload = payload[len(genMagic)+8:]
	}
	for i := range payload {
		payload[i] = byte(random.Uint32())
	}
	return uint32(fold(sumWords(pseudo(ip, len(l4)), l4)))
}

// pseudo is the sum of the pseudo header of an IPv4 packet with n bytes of L4.
func pseudo(ip []byte, n int) uint64 {
	return sumWords(uint64(ip[9])+uint64(n), ip[12:20])
}

// sumWords adds b's big-endian 16-bit words to sum; an odd byte at the end is the high
// half of a word. Up to 2^32 words can be added before folding.
func sumWords(sum uint64, b []byte) uint64 {
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		sum += v>>32 + v&0xffffffff
		b = b[8:]
	}
	for len(b) >= 2 {
		sum += uint64(b[0])<<8 | uint64(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

// fold folds a sum of words of any width to the one's complement sum of 16 bits (RFC
// 1071).
func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

var errNotGenerated = errors.New("not a generated frame")

// Sequence returns the sequence number of a generated frame. It returns an error
// unless data is such a frame with valid lengths and checksums. Padding is allowed.
func Sequence(data []byte) (uint64, error) {
	if len(data) < minFrame || [6]byte(data[:6]) != genTarget || [6]byte(data[6:12]) != genSource {
		return 0, errNotGenerated
	}
	k := frameKind{}
	if binary.BigEndian.Uint16(data[12:]) == etherVLAN {
		k.vlan = binary.BigEndian.Uint16(data[14:])
	}
	l := k.layout()
	ip := data[l.ip:]
	if binary.BigEndian.Uint16(data[l.ip-2:]) != etherIPv4 || ip[0] != 0x45 {
		return 0, errNotGenerated
	}
	switch k.tcp = ip[9] == protoTCP; {
	case k.tcp:
		l = k.layout()
	case ip[9] != protoUDP:
		return 0, errNotGenerated
	}
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if total > len(ip) || total < minFrame-l.ip {
		return 0, fmt.Errorf("generated frame: IP length %d, %d bytes in the frame", total, len(ip))
	}
	if fold(sumWords(0, ip[:ipHeader])) != 0xffff {
		return 0, fmt.Errorf("generated frame: wrong IP header checksum")
	}
	l4 := ip[ipHeader:total]
	if n := int(binary.BigEndian.Uint16(l4[4:])); !k.tcp && n != len(l4) {
		return 0, fmt.Errorf("generated frame: UDP length %d, want %d", n, len(l4))
	}
	seq := binary.BigEndian.Uint64(data[l.seq:])
	if fold(sumWords(pseudo(ip, len(l4)), l4)) != 0xffff {
		return seq, fmt.Errorf("generated frame: wrong checksum over its payload")
	}
	if k.tcp {
		return bits.RotateLeft64(seq, 32), nil
	}
	if string(l4[udpHeader:udpHeader+len(genMagic)]) != genMagic {
		return seq, errNotGenerated
	}
	return seq, nil
}

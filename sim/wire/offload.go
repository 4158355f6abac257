package wire

import "encoding/binary"

// Linux leaves checksums, segmentation and VLAN tags to the network card. Between
// virtual interfaces no card does them, so this file does.

// tagRoom is the free space before each frame read, to restore the tag.
const tagRoom = 4

type gsoType uint8

const (
	gsoNone gsoType = 0 // values of virtio_net_hdr.gso_type
	gsoTCP4 gsoType = 1
	gsoTCP6 gsoType = 4
	gsoUDP  gsoType = 5

	gsoECN      = 0x80
	vnetPartial = 1 // virtio_net_hdr.flags: the checksum is partial
)

// offload is a decoded virtio_net_hdr.
type offload struct {
	partial bool // the checksum field holds the pseudo header's sum only
	gso     gsoType
	size    int // payload bytes per segment
	start   int // offset of the checksum's range
	offset  int // of the checksum, from start
}

// decodeOffload decodes flags, gso_type, hdr_len, gso_size, csum_start and
// csum_offset, in the machine's byte order (legacy header).
func decodeOffload(b []byte) offload {
	return offload{
		partial: b[0]&vnetPartial != 0,
		gso:     gsoType(b[1] &^ gsoECN),
		size:    int(binary.NativeEndian.Uint16(b[4:])),
		start:   int(binary.NativeEndian.Uint16(b[6:])),
		offset:  int(binary.NativeEndian.Uint16(b[8:])),
	}
}

// message is one frame of the packet socket.
type message struct {
	buffer    []byte // tagRoom free bytes, then the frame
	data      []byte // the frame, without the tag that the kernel removed
	at        int64  // CLOCK_REALTIME ns
	offload   offload
	hasTag    bool
	tpid, tci uint16
	truncated bool
}

func (m *message) tagLen() int {
	if m.hasTag {
		return tagRoom
	}
	return 0
}

// restoreTag inserts the tag that the kernel removed and returns the frame.
func (m *message) restoreTag() []byte {
	if !m.hasTag {
		return m.data[:len(m.data):len(m.data)]
	}
	frame := m.buffer[: tagRoom+len(m.data) : tagRoom+len(m.data)]
	copy(frame, m.data[:12])
	binary.BigEndian.PutUint16(frame[12:], m.tpid)
	binary.BigEndian.PutUint16(frame[14:], m.tci)
	return frame
}

// complete completes a partial checksum. It returns false if its range is invalid.
func (m *message) complete() bool {
	o := m.offload
	if o.start < 14 || o.start+o.offset+2 > len(m.data) {
		return false
	}
	sum := ^fold(sumWords(0, m.data[o.start:]))
	if sum == 0 {
		sum = 0xffff // equal to 0, which for UDP means no checksum
	}
	binary.BigEndian.PutUint16(m.data[o.start+o.offset:], sum)
	return true
}

// superframe cuts a TCP or UDP super-frame into the frames that a card sends.
type superframe struct {
	message
	ip, l4, payload int // offsets
	v6, udp         bool
	sent            int // payload bytes
	index           int // of the next segment
}

func (s *superframe) more() bool { return s.payload > 0 && s.payload+s.sent < len(s.data) }

// nextLen is the length of the next segment's frame.
func (s *superframe) nextLen() int {
	return s.tagLen() + s.payload + min(s.offload.size, len(s.data)-s.payload-s.sent)
}

// begin starts with a message. It returns false unless the message is a whole TCP or
// UDP super-frame.
func (s *superframe) begin(m *message) bool {
	*s = superframe{}
	d := m.data
	ip := 14
	ether := binary.BigEndian.Uint16(d[12:])
	for ether == etherVLAN || ether == etherQinQ { // tags that the kernel left in the frame
		if len(d) < ip+4 {
			return false
		}
		ether = binary.BigEndian.Uint16(d[ip+2:])
		ip += 4
	}
	l4, v6 := m.offload.start, ether == etherIPv6
	udp := m.offload.gso == gsoUDP
	proto := byte(protoTCP)
	if udp {
		proto = protoUDP
	}
	switch {
	case m.offload.size == 0 || !m.offload.partial:
		return false
	case m.offload.gso != gsoTCP4 && m.offload.gso != gsoTCP6 && !udp:
		return false
	case ether == etherIPv4 && (l4 < ip+ipHeader || len(d) < l4 || d[ip+9] != proto || l4 != ip+int(d[ip]&15)*4):
		return false
	case v6 && (l4 < ip+40 || len(d) < l4):
		return false
	case ether != etherIPv4 && !v6:
		return false
	}
	payload := l4 + udpHeader
	if !udp {
		if len(d) < l4+tcpHeader {
			return false
		}
		payload = l4 + int(d[l4+12]>>4)*4
		if payload < l4+tcpHeader {
			return false
		}
	}
	if payload >= len(d) {
		return false
	}
	*s = superframe{message: *m, ip: ip, l4: l4, payload: payload, v6: v6, udp: udp}
	return true
}

// next writes the next segment's frame to b, of nextLen bytes.
func (s *superframe) next(b []byte) {
	part := s.data[s.payload+s.sent:]
	part = part[:min(s.offload.size, len(part))]
	last := s.payload+s.sent+len(part) == len(s.data)

	f := b
	if s.hasTag {
		copy(b, s.data[:12])
		binary.BigEndian.PutUint16(b[12:], s.tpid)
		binary.BigEndian.PutUint16(b[14:], s.tci)
		copy(b[16:], s.data[12:s.payload])
		f = b[tagRoom:] // offsets are valid from the EtherType on
	} else {
		copy(b, s.data[:s.payload])
	}
	copy(f[s.payload:], part)

	ip, l4 := f[s.ip:], f[s.l4:]
	var sum uint64
	if s.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		sum = sumWords(uint64(len(l4)), ip[8:40])
		if s.udp {
			sum += protoUDP
		} else {
			sum += protoTCP
		}
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(s.index))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^fold(sumWords(0, ip[:s.l4-s.ip])))
		sum = pseudo(ip, len(l4))
	}
	at := 16
	if s.udp {
		at = 6
		binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	} else {
		binary.BigEndian.PutUint32(l4[4:], binary.BigEndian.Uint32(l4[4:])+uint32(s.sent))
		const fin, psh, cwr = 0x01, 0x08, 0x80
		if !last {
			l4[13] &^= fin | psh
		}
		if s.index > 0 {
			l4[13] &^= cwr
		}
	}
	binary.BigEndian.PutUint16(l4[at:], 0)
	csum := ^fold(sumWords(sum, l4))
	if csum == 0 && s.udp {
		csum = 0xffff
	}
	binary.BigEndian.PutUint16(l4[at:], csum)

	s.sent += len(part)
	s.index++
}

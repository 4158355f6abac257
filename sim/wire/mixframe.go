package wire

import "encoding/binary"

const (
	ip6Header  = 40
	icmpHeader = 8
	protoICMP  = 1
	protoICMP6 = 58
)

// mixEnds are the two ends of a flow.
//
// Clients and servers are on both sides of the link, A and B. Frames from A to B have the
// addresses of gen frames, those from B to A the same ones the other way round.
//
//	             A                 B
//	clients      10.64.0.0/15      10.128.0.0/15     2001:2:0:1::/64   2001:2:0:2::/64
//	servers      198.18.0.0/16     198.19.0.0/16     2001:2:0:11::/64  2001:2:0:12::/64
//
// 198.18.0.0/15 and 2001:2::/48 are for benchmarks (RFC 2544, RFC 5180).
type mixEnds struct {
	v6             bool
	fromA          bool   // the client is on side A
	client, server uint32 // IPv4 addresses, or the lower halves of IPv6 addresses
	cport, sport   uint16
	ttl            byte
}

const (
	clientsA, clientsB = 10<<24 | 64<<16, 10<<24 | 128<<16
	serversA, serversB = 198<<24 | 18<<16, 198<<24 | 19<<16
	servers6           = 2<<16 | 0x10 // of the upper half of an IPv6 address, the lower 32 bits
	clients6           = 2 << 16
	mixServers         = 0xfe00 // of a side; those above are hosts of incidents
)

// ports of servers, as often as they are used.
var (
	tcpPorts = [16]uint16{443, 443, 443, 443, 443, 443, 443, 443, 443, 80, 80, 80, 25, 22, 993, 8080}
	udpPorts = [4]uint16{443, 443, 27015, 51820}
)

// permute maps serial numbers to distinct numbers that look random: each step can be
// undone.
func permute(n uint32) uint32 {
	n = (n ^ n>>16) * 0x7feb352d
	n = (n ^ n>>15) * 0x846ca68b
	return n ^ n>>16
}

// ends computes the ends of a flow. The client's address, its side and its port have 32
// bits, which are those of the serial number permuted, so no two flows have the same.
// Servers are chosen by a power law: one of 40 flows goes to the first one of a side.
func (f *mixFlow) ends() (e mixEnds) {
	p := permute(f.serial)
	h := uint64(f.serial)*0x9e3779b97f4a7c15 ^ uint64(f.kind)
	h ^= h >> 32
	u := h & 0xffff
	server := uint32(u * u >> 16 * u >> 16 * mixServers >> 16)
	e = mixEnds{
		v6: f.flags&mixIPv6 != 0, fromA: p>>31 == 0, client: p >> 14 & 0x1ffff, server: server,
		cport: 0xc000 | uint16(p&0x3fff), ttl: 48 + byte(h>>16&15),
	}
	switch f.kind {
	case MixTCP:
		e.sport = tcpPorts[h>>20&15]
	case MixDNS:
		e.sport = 53
	default:
		e.sport = udpPorts[h>>20&3]
	}
	if e.v6 {
		return e
	}
	if e.fromA {
		e.client |= clientsA
		e.server |= serversB
	} else {
		e.client |= clientsB
		e.server |= serversA
	}
	return e
}

// mixPacket is a frame that is being made.
type mixPacket struct {
	b    []byte // a whole buffer
	slot int
	l4   int    // offset of the header behind IP
	sum  uint64 // of the pseudo header, of words of 16 or 32 bits
}

// begin writes the Ethernet and IP headers of a frame in the next buffer. back is from the
// server to the client, n the bytes behind IP.
func (m *Mix) begin(e *mixEnds, back bool, proto byte, n int) (p mixPacket) {
	p.slot = len(m.frames)
	p.b = m.arena[p.slot*mixStride:][:mixStride:mixStride]
	b := p.b
	if e.fromA != back {
		copy(b, genTarget[:])
		copy(b[6:], genSource[:])
	} else {
		copy(b, genSource[:])
		copy(b[6:], genTarget[:])
	}
	source, target := e.client, e.server
	if back {
		source, target = target, source
	}
	if e.v6 {
		upper := uint32(clients6 | 1)
		other := uint32(servers6 | 2)
		if !e.fromA {
			upper, other = clients6|2, servers6|1
		}
		if back {
			upper, other = other, upper
		}
		const prefix = 0x20010002 << 32
		binary.BigEndian.PutUint16(b[12:], etherIPv6)
		binary.BigEndian.PutUint64(b[14:], 6<<60|uint64(e.cport)<<32|uint64(n)<<16|uint64(proto)<<8|uint64(e.ttl))
		binary.BigEndian.PutUint64(b[22:], prefix|uint64(upper&0xffff))
		binary.BigEndian.PutUint64(b[30:], uint64(source))
		binary.BigEndian.PutUint64(b[38:], prefix|uint64(other&0xffff))
		binary.BigEndian.PutUint64(b[46:], uint64(target))
		p.l4 = 14 + ip6Header
		p.sum = uint64(proto) + uint64(n) + 2*(prefix>>32) + uint64(upper&0xffff) + uint64(other&0xffff) + uint64(source) + uint64(target)
		m.note(&m.truth.IPv6)
		return p
	}
	id := uint16(m.left) // of 65536 packets all are different
	first := 0x45<<56 | uint64(ipHeader+n)<<32 | uint64(id)<<16 | 0x4000
	second := uint64(e.ttl)<<8 | uint64(proto)
	addresses := uint64(source) + uint64(target)
	sum := first>>32 + first&0xffffffff + second + addresses
	binary.BigEndian.PutUint16(b[12:], etherIPv4)
	binary.BigEndian.PutUint64(b[14:], first)
	binary.BigEndian.PutUint32(b[22:], uint32(second)<<16|uint32(^fold(sum)))
	binary.BigEndian.PutUint32(b[26:], source)
	binary.BigEndian.PutUint32(b[30:], target)
	p.l4 = 14 + ipHeader
	p.sum = addresses + uint64(proto) + uint64(n)
	return p
}

// sum returns the sum of n bytes of the pattern from an even offset.
func (m *Mix) sum(at, n int) uint64 { return uint64(m.sums[at+n] - m.sums[at]) }

// finish makes the frame of a packet whose headers end at header; the payload behind them
// is the pattern's, with own bytes of it written before.
func (m *Mix) finish(p *mixPacket, kind MixKind, header, own, payload int) {
	written := header + own
	if dirty := int(m.dirty[p.slot]); dirty > written {
		copy(p.b[written:dirty], m.pattern[written:dirty])
	}
	n := header + payload
	if n < minFrame {
		clear(p.b[n:minFrame])
		n, written = minFrame, max(written, minFrame)
	}
	m.dirty[p.slot] = uint16(written)
	m.emit(p.b[:n:n], kind)
}

// emit appends a frame. It comes at its time, or as soon as the line is free.
func (m *Mix) emit(data []byte, kind MixKind) {
	var at int64
	if kind < MixDNSRise {
		at = m.clock.next()
		m.owed += int64(m.config.Size - len(data))
	} else {
		at = m.incidentAt
	}
	if m.left == 0 {
		return
	}
	m.left--
	at = max(at, m.lineFree+wireTicks(len(data)))
	m.lineFree = at
	c := &m.truth.Kinds[kind]
	c.Packets++
	c.Bytes += uint64(len(data))
	m.frames = append(m.frames, Frame{Data: data, At: m.config.Start + at/10})
}

// tcp makes a segment of one side: 0 the client, 1 the server.
func (m *Mix) tcp(f *mixFlow, e *mixEnds, side int, flags byte, seq, ack uint32, payload int) {
	m.segment(MixTCP, e, side == 1, flags, seq, ack, payload)
}

// synOptions are MSS 1460, no operation, window scale 7, twice no operation, SACK
// permitted.
var synOptions = [3]uint32{0x020405b4, 0x01030307, 0x01010402}

func (m *Mix) segment(kind MixKind, e *mixEnds, back bool, flags byte, seq, ack uint32, payload int) {
	header := tcpHeader
	if flags&tcpSYN != 0 {
		header += 4 * len(synOptions)
	}
	p := m.begin(e, back, protoTCP, header+payload)
	b := p.b[p.l4:]
	ports := uint32(e.cport)<<16 | uint32(e.sport)
	if back {
		ports = ports<<16 | ports>>16
	}
	window := uint32(0x8000) | uint32(e.ttl)
	if flags == tcpACK && payload == 0 && seq&2047 == 7 {
		window = 0
		m.note(&m.truth.ZeroWindow)
	}
	control := uint32(header)<<26 | uint32(flags)<<16 | window
	sum := p.sum + uint64(ports) + uint64(seq) + uint64(ack) + uint64(control) + m.sum(p.l4+header, payload)
	binary.BigEndian.PutUint32(b, ports)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	binary.BigEndian.PutUint32(b[12:], control)
	if flags&tcpSYN != 0 {
		for i, word := range synOptions {
			binary.BigEndian.PutUint32(b[tcpHeader+4*i:], word)
			sum += uint64(word)
		}
	}
	binary.BigEndian.PutUint32(b[16:], uint32(^fold(sum))<<16)
	m.countFlags(flags)
	m.finish(&p, kind, p.l4+header, 0, payload)
}

func (m *Mix) countFlags(flags byte) {
	switch {
	case flags&(tcpSYN|tcpACK) == tcpSYN:
		m.note(&m.truth.SYN)
	case flags&tcpSYN != 0:
		m.note(&m.truth.SYNACK)
	}
	if flags&tcpFIN != 0 {
		m.note(&m.truth.FIN)
	}
	if flags&tcpRST != 0 {
		m.note(&m.truth.RST)
	}
}

func (m *Mix) udp(e *mixEnds, back bool, payload int) {
	p := m.begin(e, back, protoUDP, udpHeader+payload)
	m.udpHeader(&p, e, back, payload, m.sum(p.l4+udpHeader, payload))
	m.finish(&p, MixUDP, p.l4+udpHeader, 0, payload)
}

// udpHeader writes the header; sum is that of the payload.
func (m *Mix) udpHeader(p *mixPacket, e *mixEnds, back bool, payload int, sum uint64) {
	n := uint64(udpHeader + payload)
	ports := uint64(e.cport)<<16 | uint64(e.sport)
	if back {
		ports = uint64(e.sport)<<16 | uint64(e.cport)
	}
	check := ^fold(p.sum + ports + n + sum)
	if check == 0 {
		check = 0xffff // 0 means no checksum (RFC 768)
	}
	binary.BigEndian.PutUint64(p.b[p.l4:], ports<<32|n<<16|uint64(check))
}

// icmp makes an echo request or its reply, of 56 bytes of data as ping sends.
func (m *Mix) icmp(e *mixEnds, reply bool, number uint16) {
	const payload = 56
	proto, kind := byte(protoICMP), uint64(8)
	if e.v6 {
		proto, kind = protoICMP6, 128
	}
	p := m.begin(e, reply, proto, icmpHeader+payload)
	switch {
	case reply && e.v6:
		kind = 129
	case reply:
		kind = 0
	}
	id := uint64(e.cport)
	sum := kind<<8 + id + uint64(number) + m.sum(p.l4+icmpHeader, payload)
	if e.v6 {
		sum += p.sum
	}
	binary.BigEndian.PutUint64(p.b[p.l4:], kind<<56|uint64(^fold(sum))<<32|id<<16|uint64(number))
	m.finish(&p, MixICMP, p.l4+icmpHeader, 0, payload)
}

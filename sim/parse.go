package sim

import (
	"encoding/binary"
	"math/bits"
)

// meta is the result of the receive filters in the form of an advanced descriptor
// (datasheet 7.1.6), without length, DD and EOP. It has three words, so that the
// compiler keeps it in registers.
type meta struct {
	lo    uint64 // RSS type, packet type; hash
	hi    uint64 // extended status and errors; VLAN tag
	queue uint32
}

func (m meta) status() uint32 { return uint32(m.hi) }

// untagged clears the VLAN tag, which only stripping reports.
func (m meta) untagged() meta {
	m.hi &= 1<<48 - 1
	return m
}

// fields is meta unpacked.
type fields struct {
	queue   uint32
	rssType uint8
	ptype   uint16 // packet type, bits 16:4 of the descriptor
	vlan    uint16
	hash    uint32 // RSS hash, or fragment checksum and IP identification
	status  uint32 // extended status and errors
}

func (f *fields) pack() meta {
	return meta{
		lo:    uint64(f.hash)<<32 | uint64(f.ptype)<<4 | uint64(f.rssType),
		hi:    uint64(f.vlan)<<48 | uint64(f.status),
		queue: f.queue,
	}
}

// Packet types.
const (
	ptIP4    = 1 << 0
	ptIP4Ext = 1 << 1
	ptIP6    = 1 << 2
	ptIP6Ext = 1 << 3
	ptTCP    = 1 << 4
	ptUDP    = 1 << 5
	ptSCTP   = 1 << 6
	ptESP    = 1 << 8
	ptAH     = 1 << 9
	ptETQF   = 1 << 11
)

// Extended status (bits 19:0) and errors (31:20).
const (
	stDD     = 1 << 0
	stEOP    = 1 << 1
	stFLM    = 1 << 2
	stVP     = 1 << 3
	stUDPCS  = 1 << 4
	stL4CS   = 1 << 5
	stIPCS   = 1 << 6
	stPIF    = 1 << 7
	stVEXT   = 1 << 9
	stUDPV   = 1 << 10
	stTS     = 1 << 16
	errRXE   = 1 << 29
	errTCPE  = 1 << 30
	errIPE   = 1 << 31
	ethVLAN  = 0x8100
	ethIP4   = 0x0800
	ethIP6   = 0x86dd
	ethPause = 0x8808

	protoIP6 = 41 // IPv6 in IPv4 (RFC 4213)
)

// parse classifies a frame of at least 60 bytes. TCP and UDP over IPv4 without
// options take a fast path with the same result.
func (c *rxConfig) parse(f []byte) meta {
	if c.fast {
		if h := (*[minFrame]byte)(f); h[12] == 0x08 && h[13] == 0x00 && h[14] == 0x45 {
			if m, ok := c.parseFast(h, f); ok {
				return m
			}
		}
	}
	var m fields
	c.parseSlow(f, &m)
	return m.pack()
}

// parseFast classifies an untagged IPv4 frame without IP options that carries a
// whole TCP or UDP packet. It returns false for all others.
func (c *rxConfig) parseFast(h *[minFrame]byte, f []byte) (m meta, ok bool) {
	total := int(binary.BigEndian.Uint16(h[16:]))
	size := total - 20
	proto := h[23]
	if binary.BigEndian.Uint16(h[20:])&0x3fff != 0 || 14+total > len(f) || size < 8 {
		return m, false
	}
	var want uint32
	var kind, status uint64
	switch proto {
	case 17:
		if h[40]|h[41] == 0 || int(binary.BigEndian.Uint16(h[38:])) != size {
			return m, false
		}
		kind, status, want = (ptIP4|ptUDP)<<4|rssUDP4, stIPCS|stL4CS|stUDPCS, mrqcUDP4
	case 6:
		if size < 20 {
			return m, false
		}
		kind, status, want = (ptIP4|ptTCP)<<4|rssTCP4, stIPCS|stL4CS, mrqcTCP4
	default:
		return m, false
	}
	addrs := binary.LittleEndian.Uint64(h[26:])
	pair := addrs>>32 + addrs&0xffffffff
	head := uint64(binary.LittleEndian.Uint32(h[14:])) + uint64(binary.LittleEndian.Uint32(h[18:])) +
		uint64(binary.LittleEndian.Uint32(h[22:])) + pair
	if fold(head) != 0xffff {
		status |= errIPE
	}
	body := sum(f[34:14+total]) + pair + uint64(proto)<<8 + uint64(bits.ReverseBytes16(uint16(size)))
	if fold(body) != 0xffff {
		status |= errTCPE
	}
	var hash uint32
	switch {
	case c.rss&want != 0:
		hash = c.key.hash12((*[12]byte)(h[26:]))
	case c.rss&mrqcIP4 != 0:
		kind = kind&^0xf | rssIP4
		hash = c.key.hash(h[26:34])
	default:
		return meta{lo: kind &^ 0xf, hi: status}, true
	}
	return meta{lo: uint64(hash)<<32 | kind, hi: status, queue: uint32(c.reta[hash&c.retaMask&511])}, true
}

// parseSlow is the slow path of parse.
func (c *rxConfig) parseSlow(f []byte, m *fields) {
	etype := binary.BigEndian.Uint16(f[12:])
	off := 14
	if c.extended {
		// All frames but control frames are expected to have an outer tag. Others are not
		// parsed (datasheet 7.4.5).
		if etype != c.extTag {
			return
		}
		m.status |= stVEXT
		etype = binary.BigEndian.Uint16(f[off+2:])
		off += 4
	}
	if etype == c.tag && len(f) >= off+4 {
		m.status |= stVP
		m.vlan = binary.BigEndian.Uint16(f[off:])
		etype = binary.BigEndian.Uint16(f[off+2:])
		off += 4
	}
	if c.etypes && c.matchEtype(etype, f, off, m) {
		return
	}
	switch etype {
	case ethIP4:
		c.parseIP4(f, off, m)
	case ethIP6:
		c.parseIP6(f, off, m)
	}
	if m.rssType != rssNone {
		m.queue = uint32(c.reta[m.hash&c.retaMask&511])
	}
	if m.ptype&ptUDP != 0 && c.stamps.overUDP() {
		c.markPTP(c.stamps.udpPayload(f, off, m), true, f, m)
	}
	if c.steering {
		c.steer(f, off, m)
	}
	if c.noHash {
		m.rssType = rssNone
		if m.status&stUDPV == 0 {
			m.hash = 0
		}
	}
}

// matchEtype applies the EtherType filters (datasheet 7.1.2.3). If one matches, the
// packet type is the filter's index and the frame is not parsed further.
func (c *rxConfig) matchEtype(etype uint16, f []byte, off int, m *fields) bool {
	for i, filter := range c.etqf {
		const enable, queueEnable = 1 << 31, 1 << 31
		if filter&enable == 0 || uint16(filter) != etype {
			continue
		}
		m.ptype = ptETQF | uint16(i)
		if filter&etqf1588 != 0 {
			c.markPTP(f[off:], false, f, m)
		}
		if s := c.etqs[i]; s&queueEnable != 0 {
			c.choose(m, s>>16&0x7f)
		}
		return true
	}
	return false
}

func (c *rxConfig) parseIP4(f []byte, off int, m *fields) {
	if len(f) < off+20 || f[off]>>4 != 4 {
		return
	}
	header := int(f[off]&0xf) * 4
	if header < 20 || len(f) < off+header {
		return
	}
	m.ptype = ptIP4
	if header > 20 {
		m.ptype |= ptIP4Ext
	}
	m.status |= stIPCS
	if header == 20 && sum20(f[off:off+20]) != 0xffff || header > 20 && fold(sum(f[off:off+header])) != 0xffff {
		m.status |= errIPE
	}
	addrs := (*[8]byte)(f[off+12:])
	if c.rss&mrqcIP4 != 0 {
		m.rssType = rssIP4
	}
	total := int(binary.BigEndian.Uint16(f[off+2:]))
	fragment := binary.BigEndian.Uint16(f[off+6:])
	if fragment&0x3fff != 0 || total < header || len(f) < off+total {
		if m.rssType == rssIP4 {
			m.hash = c.key.hash(addrs[:])
		}
		if fragment&0x3fff != 0 && c.fragments && f[off+9] == 17 && total > header && len(f) >= off+total {
			// UDP fragment: payload checksum and identification replace the hash
			// (RXCSUM.PCSD clear, IPPCSE set).
			m.status |= stUDPV
			m.hash = uint32(^fold(sum(f[off+header:off+total])))<<16 | uint32(binary.BigEndian.Uint16(f[off+4:]))
		}
		return
	}
	l4, proto := f[off+header:off+total], f[off+9]
	if proto == protoIP6 {
		tunnelIP6(l4, m)
	}
	if !c.layer4(l4, proto, sum8(addrs), m) {
		if m.rssType == rssIP4 {
			m.hash = c.key.hash(addrs[:])
		}
		return
	}
	switch {
	case proto == 6 && c.rss&mrqcTCP4 != 0:
		m.rssType = rssTCP4
		m.hash = c.key.hashPorts(addrs, l4)
	case proto == 17 && c.rss&mrqcUDP4 != 0:
		m.rssType = rssUDP4
		m.hash = c.key.hashPorts(addrs, l4)
	case m.rssType == rssIP4:
		m.hash = c.key.hash(addrs[:])
	}
}

func (c *rxConfig) parseIP6(f []byte, off int, m *fields) {
	if len(f) < off+40 || f[off]>>4 != 6 {
		return
	}
	m.ptype = ptIP6
	addrs := f[off+8 : off+40]
	if c.rss&mrqcIP6 != 0 {
		m.rssType = rssIP6
		m.hash = c.key.hash(addrs)
	}
	payload := int(binary.BigEndian.Uint16(f[off+4:]))
	if payload == 0 || len(f) < off+40+payload {
		return
	}
	next, l4, ok := skipExtensions(f[off+6], f[off+40:off+40+payload], m)
	if !ok {
		return
	}
	if !c.layer4(l4, next, sum(addrs), m) {
		return
	}
	var in [36]byte
	switch {
	case next == 6 && c.rss&mrqcTCP6 != 0:
		m.rssType = rssTCP6
	case next == 17 && c.rss&mrqcUDP6 != 0:
		m.rssType = rssUDP6
	default:
		return
	}
	copy(in[:], addrs)
	copy(in[32:], l4[:4])
	m.hash = c.key.hash(in[:])
}

// skipExtensions returns the header behind IPv6 extension headers, and its protocol.
// It returns false for a fragment and for an incomplete extension header.
func skipExtensions(next byte, b []byte, m *fields) (proto byte, l4 []byte, ok bool) {
	for next == 0 || next == 43 || next == 60 || next == 44 { // hop-by-hop, routing, destination, fragment
		m.ptype |= ptIP6Ext
		if next == 44 || len(b) < 8 {
			return next, b, false
		}
		size := 8 + int(b[1])*8
		if len(b) < size {
			return next, b, false
		}
		next, b = b[0], b[size:]
	}
	return next, b, true
}

// tunnelIP6 adds the packet type of an IPv6 packet in IPv4 (datasheet 7.1.6.2). RSS
// uses the outer addresses only, and the transport's checksum is not verified
// (7.1.2.8.1, 7.1.11).
func tunnelIP6(b []byte, m *fields) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	m.ptype |= ptIP6
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < 40+payload {
		return
	}
	if proto, l4, ok := skipExtensions(b[6], b[40:40+payload], m); ok {
		m.ptype |= transportType(proto, len(l4))
	}
}

// transportType is the packet type of a transport of which size bytes are there, 0 if
// it is unknown or incomplete.
func transportType(proto byte, size int) uint16 {
	switch {
	case size < 8:
	case proto == 6 && size >= 20:
		return ptTCP
	case proto == 17:
		return ptUDP
	case proto == 132:
		return ptSCTP
	case proto == 50:
		return ptESP
	case proto == 51:
		return ptAH
	}
	return 0
}

// layer4 sets the transport's packet type and verifies its checksum. It returns
// false for an unknown transport or an incomplete header. pseudo is the sum of the
// addresses.
func (c *rxConfig) layer4(l4 []byte, proto byte, pseudo uint64, m *fields) bool {
	kind := transportType(proto, len(l4))
	m.ptype |= kind
	switch kind {
	case ptTCP:
		m.status |= stL4CS
	case ptUDP:
		n := int(binary.BigEndian.Uint16(l4[4:]))
		if l4[6]|l4[7] == 0 || n < 8 || n > len(l4) {
			return true // no checksum, or wrong length
		}
		l4 = l4[:n]
		m.status |= stL4CS | stUDPCS
	case ptSCTP:
		if len(l4) >= 12 {
			m.status |= stL4CS
			if !sctpOK(l4) {
				m.status |= errTCPE
			}
		}
		return true
	default:
		return false
	}
	s := sum(l4) + pseudo + uint64(bits.ReverseBytes16(uint16(proto))) + uint64(bits.ReverseBytes16(uint16(len(l4))))
	if len(l4) > 0xffff || fold(s) != 0xffff {
		m.status |= errTCPE
	}
	return true
}

// sum is the unfolded one's complement sum of b as little-endian 16-bit words, with
// end-around carry. Comparing the folded sum with 0xffff needs no byte swap.
func sum(b []byte) uint64 {
	var s, c uint64
	for len(b) >= 32 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[8:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[16:]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[24:]), c)
		s += c
		b = b[32:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s += c
		b = b[8:]
	}
	if len(b) >= 4 {
		s, c = bits.Add64(s, uint64(binary.LittleEndian.Uint32(b)), 0)
		s += c
		b = b[4:]
	}
	var t uint64
	if len(b) >= 2 {
		t = uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		t += uint64(b[0])
	}
	s, c = bits.Add64(s, t, 0)
	s += c
	return s>>32 + s&0xffffffff // the caller can add without overflow
}

// sum8 is sum for the two addresses of IPv4.
func sum8(p *[8]byte) uint64 {
	v := binary.LittleEndian.Uint64(p[:])
	return v>>32 + v&0xffffffff
}

// sum20 is the folded sum of an IPv4 header without options.
func sum20(b []byte) uint16 {
	_ = b[19]
	s := uint64(binary.LittleEndian.Uint32(b)) + uint64(binary.LittleEndian.Uint32(b[4:])) +
		uint64(binary.LittleEndian.Uint32(b[8:])) + uint64(binary.LittleEndian.Uint32(b[12:])) +
		uint64(binary.LittleEndian.Uint32(b[16:]))
	return fold(s)
}

// fold folds a sum to 16 bits.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

package rules

import "encoding/binary"

// What a test says. libpcap's programs end with "no" where they load a byte that a
// frame does not have, so "not" does not turn short into yes.
type verdict uint8

const (
	no verdict = iota
	yes
	short
)

func is(b bool) verdict {
	if b {
		return yes
	}
	return no
}

const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeRARP = 0x8035
	typeIPv6 = 0x86dd
	typeMPLS = 0x8847
	maxLLC   = 1500 // a type field up to here is a length, and an LLC header follows

	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoFrag  = 44
	protoICMP6 = 58
	protoSCTP  = 132
)

var protoOf = [isEtherProto + 1]uint32{isTCP: protoTCP, isUDP: protoUDP, isSCTP: protoSCTP, isICMP: protoICMP, isICMP6: protoICMP6}

// isTag tells the types that libpcap takes for a VLAN tag's.
func isTag(typ uint32) bool { return typ == 0x8100 || typ == 0x88a8 || typ == 0x9100 }

func hasPorts(proto byte) bool { return proto == protoTCP || proto == protoUDP || proto == protoSCTP }

// load8 and the like read at an offset; not ok where the frame has ended.
func load8(b []byte, at int) (byte, bool) {
	if at >= len(b) {
		return 0, false
	}
	return b[at], true
}

func load16(b []byte, at int) (uint32, bool) {
	if at+2 > len(b) {
		return 0, false
	}
	return uint32(binary.BigEndian.Uint16(b[at:])), true
}

func load32(b []byte, at int) (uint32, bool) {
	if at+4 > len(b) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[at:]), true
}

// eval tests a frame, byte by byte as libpcap's program would. It is what the
// gates are measured against.
func (p *primitive) eval(b []byte) verdict {
	v := p.positive(b)
	if p.not && v != short {
		v ^= yes
	}
	return v
}

func (p *primitive) positive(b []byte) verdict {
	switch p.kind {
	case isIP:
		return p.ip(b, 4)
	case isIP6:
		return p.ip(b, 6)
	case isARP:
		return p.typed(b, typeARP)
	case isTCP, isUDP, isSCTP, isProto:
		if v := p.ip(b, 4); v != no {
			return p.then(v, b, 9, byte(p.lo))
		}
		return p.next6(b)
	case isICMP:
		return p.then(p.ip(b, 4), b, 9, protoICMP)
	case isICMP6:
		return p.next6(b)
	case isHost, isNet:
		if p.net.Addr().Is4() {
			return p.host4(b)
		}
		return p.host6(b)
	case isPort:
		return p.ports(b)
	case isVLAN:
		return p.vlan(b)
	case isMPLS:
		return p.mpls(b)
	case isEtherHost:
		return p.etherHost(b)
	case isEtherProto:
		return p.etherProto(b)
	}
	return no
}

// then tests a byte of what is behind the type, where v is yes.
func (p *primitive) then(v verdict, b []byte, at int, want byte) verdict {
	if v != yes {
		return v
	}
	c, ok := load8(b, int(p.load)+at)
	if !ok {
		return short
	}
	return is(c == want)
}

func (p *primitive) typed(b []byte, want uint32) verdict {
	typ, ok := load16(b, int(p.link))
	if !ok {
		return short
	}
	return is(typ == want)
}

// ip tells whether a packet of that version follows. Behind labels there is no
// type: the last label has its lowest bit set, and the version is the packet's own.
func (p *primitive) ip(b []byte, version byte) verdict {
	if !p.deep {
		if version == 4 {
			return p.typed(b, typeIPv4)
		}
		return p.typed(b, typeIPv6)
	}
	c, ok := load8(b, int(p.load)-2)
	if !ok {
		return short
	}
	if c&1 == 0 {
		return no
	}
	if c, ok = load8(b, int(p.load)); !ok {
		return short
	}
	return is(c>>4 == version)
}

// next6 is a protocol in IPv6, also behind a fragment header.
func (p *primitive) next6(b []byte) verdict {
	if v := p.ip(b, 6); v != yes {
		return v
	}
	c, ok := load8(b, int(p.load)+6)
	if !ok {
		return short
	}
	if c == byte(p.lo) || c != protoFrag {
		return is(c == byte(p.lo))
	}
	return p.then(yes, b, 40, byte(p.lo))
}

func (p *primitive) host4(b []byte) verdict {
	src, dst := 12, 16
	switch v := p.ip(b, 4); {
	case v == short:
		return short
	case v == no && p.deep:
		return no
	case v == no:
		typ, _ := load16(b, int(p.link))
		if typ != typeARP && typ != typeRARP {
			return no
		}
		src, dst = 14, 24
	}
	return p.sides(b, src, dst, 1)
}

func (p *primitive) host6(b []byte) verdict {
	if v := p.ip(b, 6); v != yes {
		return v
	}
	return p.sides(b, 8, 24, 4)
}

// sides compares addresses of n words. Words without a bit to compare are not loaded.
func (p *primitive) sides(b []byte, src, dst, n int) verdict {
	if p.dir != destination {
		if v := p.compare(b, src, n); v != no || p.dir == source {
			return v
		}
	}
	return p.compare(b, dst, n)
}

func (p *primitive) compare(b []byte, at, n int) verdict {
	for i := range n {
		if p.mask[i] == 0 {
			break
		}
		w, ok := load32(b, int(p.load)+at+4*i)
		if !ok {
			return short
		}
		if w&p.mask[i] != p.addr[i] {
			return no
		}
	}
	return yes
}

func (p *primitive) ports(b []byte) verdict {
	at := int(p.load)
	switch v := p.ip(b, 4); v {
	case short:
		return short
	case yes:
		c, ok := load8(b, at+9)
		if !ok {
			return short
		}
		if frag, _ := load16(b, at+6); !hasPorts(c) || frag&0x1fff != 0 {
			return no
		}
		at += int(b[at]&0xf) * 4
	case no:
		if v := p.ip(b, 6); v != yes {
			return v
		}
		c, ok := load8(b, at+6)
		if !ok {
			return short
		}
		if !hasPorts(c) {
			return no
		}
		at += 40
	}
	if p.dir != destination {
		switch n, ok := load16(b, at); {
		case !ok:
			return short
		case n >= p.lo && n <= p.hi:
			return yes
		case p.dir == source:
			return no
		}
	}
	n, ok := load16(b, at+2)
	if !ok {
		return short
	}
	return is(n >= p.lo && n <= p.hi)
}

func (p *primitive) vlan(b []byte) verdict {
	typ, ok := load16(b, int(p.link))
	if !ok {
		return short
	}
	if !isTag(typ) || p.any {
		return is(isTag(typ))
	}
	tag, ok := load16(b, int(p.link)+2)
	if !ok {
		return short
	}
	return is(tag&0xfff == p.lo)
}

// mpls is one more label: the one before has its lowest bit clear.
func (p *primitive) mpls(b []byte) verdict {
	if !p.deep {
		if v := p.typed(b, typeMPLS); v != yes {
			return v
		}
	} else {
		c, ok := load8(b, int(p.load)-2)
		if !ok {
			return short
		}
		if c&1 != 0 {
			return no
		}
	}
	if p.any {
		return yes
	}
	label, ok := load32(b, int(p.load))
	if !ok {
		return short
	}
	return is(label>>12 == p.lo)
}

func (p *primitive) etherHost(b []byte) verdict {
	if p.dir != destination {
		v := p.macAt(b, 6)
		if v != no || p.dir == source {
			return v
		}
	}
	return p.macAt(b, 0)
}

func (p *primitive) macAt(b []byte, at int) verdict {
	low, ok := load32(b, at+2)
	if !ok {
		return short
	}
	high, _ := load16(b, at)
	return is(uint64(high)<<32|uint64(low) == p.mac)
}

func (p *primitive) etherProto(b []byte) verdict {
	if p.deep {
		if p.lo == typeIPv4 {
			return p.ip(b, 4)
		}
		return p.ip(b, 6)
	}
	if p.lo > maxLLC {
		return p.typed(b, p.lo)
	}
	switch typ, ok := load16(b, int(p.link)); {
	case !ok:
		return short
	case typ > maxLLC:
		return no
	}
	switch p.lo {
	case 0x06, 0xf0, 0xfe: // IP, NetBEUI and OSI over LLC: both service access points
		pair, ok := load16(b, int(p.link)+2)
		if !ok {
			return short
		}
		return is(pair == p.lo<<8|p.lo)
	}
	sap, ok := load8(b, int(p.link)+2)
	if !ok {
		return short
	}
	return is(uint32(sap) == p.lo)
}

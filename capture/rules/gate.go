package rules

import "encoding/binary"

// Most rules are told apart by comparing two words of a frame under a mask. The
// words are made once for a frame and each depth at which rules look:
//
//	63      48 47      32 31    28 27    16 15      0
//	| source  | destin.  |        | VLAN   | facts   |   names
//	| port    | port     |   0    | before |         |
//
//	63                 32 31                       0
//	| source IPv4        | destination IPv4          |   addrs
//
// A gate lets a frame pass where each word fits one of two patterns: two because
// "port 53" is either side's. What a gate cannot tell, eval does behind it. A frame
// that ends within these headers is left to eval alone.

// facts of a word of names
const (
	factIP uint64 = 1 << iota
	factIP6
	factARP
	factTCP
	factUDP
	factSCTP
	factICMP
	factICMP6
	factAddrs // addrs is valid: IPv4, ARP or RARP
	factPorts // the ports are valid
	factTag   // the header before is a VLAN tag
)

const (
	shiftVLAN  = 16
	shiftDport = 32
	shiftSport = 48
)

var factOf = [isEtherProto + 1]uint64{
	isIP: factIP, isIP6: factIP6, isARP: factARP, isTCP: factTCP, isUDP: factUDP, isSCTP: factSCTP, isICMP: factICMP, isICMP6: factICMP6,
}

// pattern is what a word has to be.
type pattern struct{ mask, want uint64 }

func (p pattern) fits(w uint64) bool { return w&p.mask == p.want }

// gate is a rule's first test.
type gate struct {
	names, addrs [2]pattern
	ports        span
	ranged       bool // ports counts
	only         bool // nothing is left for eval
	level        uint8
}

// span is a range of ports, lo to lo+width, on one side or either.
type span struct {
	lo, width uint16
	dir       direction
}

func (s span) has(names uint64) bool {
	src, dst := uint16(names>>shiftSport)-s.lo <= s.width, uint16(names>>shiftDport)-s.lo <= s.width
	return src && s.dir != destination || dst && s.dir != source
}

// level is a depth at which rules look.
type level struct {
	link, load int
	labels     bool
}

// view is what the words of a level say of a frame.
type view struct {
	names, addrs uint64
	made, odd    bool // odd: the frame ends within its headers
}

// compile makes gates and levels from the rules.
func (r *Rules) compile() {
	r.gates = make([]gate, len(r.rules))
	for i := range r.rules {
		r.rules[i].compile(r, &r.gates[i])
	}
}

func (ru *rule) compile(r *Rules, g *gate) {
	// The depth behind the last header that is passed; most tests are there.
	last := ru.match[len(ru.match)-1]
	at := level{link: int(last.link), load: int(last.load), labels: last.deep}
	switch last.kind {
	case isVLAN:
		at.link, at.load = at.link+4, at.load+4
	case isMPLS:
		at.load, at.labels = at.load+4, true
	}
	g.level = r.level(at)
	for _, p := range ru.match {
		if !g.take(&p, at) {
			ru.after = append(ru.after, p)
		}
	}
	g.only = len(ru.after) == 0
}

// level finds or adds a depth.
func (r *Rules) level(at level) uint8 {
	for i, l := range r.levels {
		if l == at {
			return uint8(i)
		}
	}
	r.levels = append(r.levels, at)
	return uint8(len(r.levels) - 1)
}

// take puts a primitive, or what it implies, into the gate. False: eval has to
// look, too.
func (g *gate) take(p *primitive, at level) bool {
	if p.not {
		return false
	}
	here := int(p.link) == at.link && int(p.load) == at.load
	switch p.kind {
	case isVLAN:
		if int(p.link)+4 != at.link {
			return false
		}
		g.fact(factTag)
		return p.any || g.names1(shiftVLAN, 0xfff, p.lo)
	case isMPLS, isEtherHost, isEtherProto:
		return false
	}
	if !here {
		return false
	}
	switch p.kind {
	case isProto:
		for _, k := range []kind{isTCP, isUDP, isSCTP} {
			if protoOf[k] == p.lo {
				g.fact(factOf[k])
				return true
			}
		}
		return false
	case isHost, isNet:
		return g.host(p)
	case isPort:
		g.fact(factPorts)
		switch {
		case p.lo != p.hi && g.ranged:
			return false // there is one already
		case p.lo != p.hi:
			g.ranged, g.ports = true, span{uint16(p.lo), uint16(p.hi - p.lo), p.dir}
			return true
		case p.dir == source:
			return g.names1(shiftSport, 0xffff, p.lo)
		case p.dir == destination:
			return g.names1(shiftDport, 0xffff, p.lo)
		}
		return either2(&g.names, shiftSport, shiftDport, 0xffff, uint64(p.lo))
	}
	g.fact(factOf[p.kind])
	return true
}

func (g *gate) host(p *primitive) bool {
	if !p.net.Addr().Is4() {
		g.fact(factIP6)
		return false
	}
	g.fact(factAddrs)
	mask, addr := uint64(p.mask[0]), uint64(p.addr[0])
	switch {
	case mask == 0:
		return true
	case p.dir == source:
		return both(&g.addrs, 32, mask, addr)
	case p.dir == destination:
		return both(&g.addrs, 0, mask, addr)
	}
	return either2(&g.addrs, 32, 0, mask, addr)
}

func (g *gate) fact(bit uint64) {
	for i := range g.names {
		g.names[i].mask |= bit
		g.names[i].want |= bit
	}
}

func (g *gate) names1(shift int, mask uint64, want uint32) bool {
	return both(&g.names, shift, mask, uint64(want))
}

// both asks for a field in both patterns; false where one of them has it already.
func both(w *[2]pattern, shift int, mask, want uint64) bool {
	if (w[0].mask|w[1].mask)&(mask<<shift) != 0 {
		return false
	}
	for i := range w {
		w[i].mask |= mask << shift
		w[i].want |= want << shift
	}
	return true
}

// either2 asks for one field in the first pattern and for the other in the second;
// false where the word asks for one of them already.
func either2(w *[2]pattern, shift0, shift1 int, mask, want uint64) bool {
	if w[0].mask&(mask<<shift0|mask<<shift1) != 0 {
		return false
	}
	w[0].mask |= mask << shift0
	w[0].want |= want << shift0
	w[1].mask |= mask << shift1
	w[1].want |= want << shift1
	return true
}

// look makes the words of a frame.
func (l *level) look(b []byte) (v view) {
	v.made = true
	at := l.load
	if len(b) < at+20 {
		v.odd = true
		return v
	}
	if l.link > 12 {
		// The tag before: its type is where a frame without that tag has its own.
		if isTag(uint32(binary.BigEndian.Uint16(b[l.link-4:]))) {
			v.names = factTag | uint64(binary.BigEndian.Uint16(b[l.link-2:])&0xfff)<<shiftVLAN
		}
	}
	typ := binary.BigEndian.Uint16(b[l.link:])
	if l.labels {
		typ = 0
		if b[at-2]&1 != 0 {
			switch b[at] >> 4 {
			case 4:
				typ = typeIPv4
			case 6:
				typ = typeIPv6
			}
		}
	}
	switch typ {
	case typeIPv4:
		v.names |= factIP | factAddrs
		v.addrs = binary.BigEndian.Uint64(b[at+12:])
		proto := b[at+9]
		v.names |= factProto(proto)
		if proto == protoICMP {
			v.names |= factICMP
		}
		if hasPorts(proto) && (b[at+6]&0x1f|b[at+7]) == 0 {
			v.ports(b, at+int(b[at]&0xf)*4)
		}
	case typeIPv6:
		v.names |= factIP6
		if len(b) < at+41 {
			v.odd = true
			return v
		}
		next := b[at+6]
		if hasPorts(next) {
			v.ports(b, at+40)
		}
		if next == protoFrag {
			next = b[at+40]
		}
		v.names |= factProto(next)
		if next == protoICMP6 {
			v.names |= factICMP6
		}
	case typeARP, typeRARP:
		v.names |= factAddrs
		if typ == typeARP {
			v.names |= factARP
		}
		if len(b) < at+28 {
			v.odd = true
			return v
		}
		v.addrs = uint64(binary.BigEndian.Uint32(b[at+14:]))<<32 | uint64(binary.BigEndian.Uint32(b[at+24:]))
	}
	return v
}

func factProto(proto byte) uint64 {
	switch proto {
	case protoTCP:
		return factTCP
	case protoUDP:
		return factUDP
	case protoSCTP:
		return factSCTP
	}
	return 0
}

func (v *view) ports(b []byte, at int) {
	if len(b) < at+4 {
		v.odd = true
		return
	}
	v.names |= factPorts | uint64(binary.BigEndian.Uint32(b[at:]))<<shiftDport
}

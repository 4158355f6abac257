package pcapfilter

import "github.com/ixcap/ixcap/capture/internal/ether"

// generator makes conditions of primitives. It holds the offsets of the headers;
// vlan, mpls and pppoes move them for all that stands to their right, in every
// branch of the expression.
type generator struct {
	at        int // byte of the current token, for errors
	registers int

	linkHeader offset // the link layer's header
	typeField  offset // the type field
	payload    offset // the bytes behind the type field
	skip       uint32 // bytes from there to the network layer's header
	osi        uint32 // bytes from there to an OSI header behind LLC
	ppp        bool   // the type is PPP's
	labels     int    // MPLS labels so far
	raw        bool   // there is no link layer: IP begins at payload
	framed     *cond  // that there is an Ethernet header; nil if it is certain
	shifts     []shiftKind
	tunnels    []tunnel
}

func newGenerator() generator {
	return generator{typeField: offset{off: 12}, payload: offset{off: 14}, osi: 3}
}

// network is a byte of the network layer's header.
func (g *generator) network(off uint32) offset { return g.payload.plus(g.skip + off) }

// field compares bytes at an offset with a number.
func field(off offset, size uint8, k uint32) *cond {
	return compare(at(off, size), equal, constant(k))
}

// masked is field for the bits of mask.
func masked(off offset, size uint8, k, mask uint32) *cond {
	v := at(off, size)
	if mask != 0xffffffff {
		v = compute(and, v, constant(mask))
	}
	return compare(v, equal, constant(k))
}

// anyBit is that one of the bits of mask is set.
func anyBit(off offset, size uint8, mask uint32) *cond {
	return not(compare(compute(and, at(off, size), constant(mask)), equal, constant(0)))
}

// octets compares bytes, from the last to the first, 4 at a time as far as
// possible.
func octets(off offset, b []byte) *cond {
	var c []*cond
	for n := len(b); n > 0; {
		size := 1
		if n >= 4 {
			size = 4
		} else if n >= 2 {
			size = 2
		}
		n -= size
		k := uint32(0)
		for _, x := range b[n : n+size] {
			k = k<<8 | uint32(x)
		}
		c = append(c, field(off.plus(uint32(n)), uint8(size), k))
	}
	return all(c...)
}

// isLength is that the type field holds a length: IEEE 802.3 with LLC.
func (g *generator) isLength() *cond {
	if g.raw {
		return never()
	}
	return not(compare(at(g.typeField, 2), greater, constant(ether.MaxLength)))
}

func (g *generator) snap(org, proto uint32) *cond {
	return octets(g.payload, []byte{
		sapSNAP, sapSNAP, 0x03, byte(org >> 16), byte(org >> 8), byte(org), byte(proto >> 8), byte(proto),
	})
}

// linkType is that the link layer carries a protocol: a type of Ethernet above
// 1500, a service access point of LLC up to it.
func (g *generator) linkType(proto uint32) *cond {
	switch {
	case g.labels > 0:
		return g.mplsType(proto)
	case g.raw:
		if proto != ether.TypeIPv4 && proto != ether.TypeIPv6 {
			return never()
		}
		return g.version(proto)
	case g.ppp:
		if t, ok := pppTypes[proto]; ok {
			proto = t
		}
		return field(g.typeField, 2, proto)
	}
	switch proto {
	case sapISO, sapIP, sapNetBEUI:
		return all(g.isLength(), field(g.payload, 2, proto<<8|proto))
	case sapIPX: // in its four encapsulations
		return anyOf(
			field(g.typeField, 2, typeIPX),
			all(g.isLength(), anyOf(g.snap(0, typeIPX), anyOf(field(g.payload, 1, sapIPX), field(g.payload, 2, 0xffff)))),
		)
	case typeATalk:
		return anyOf(field(g.typeField, 2, proto), all(g.isLength(), g.snap(0x080007, proto)))
	case typeAARP:
		return anyOf(field(g.typeField, 2, proto), all(g.isLength(), g.snap(0, proto)))
	}
	if proto <= ether.MaxLength {
		return all(g.isLength(), field(g.typeField.plus(2), 1, proto))
	}
	return field(g.typeField, 2, proto)
}

// mplsType is that the last label ends the stack and IP follows. MPLS has no type
// field; the version of IP serves.
func (g *generator) mplsType(proto uint32) *cond {
	if proto != ether.TypeIPv4 && proto != ether.TypeIPv6 {
		fail(g.at, "behind mpls only IPv4 and IPv6 can be tested: write other conditions before mpls")
	}
	// The last byte but one of the label.
	return all(masked(g.network(^uint32(1)), 1, 1, 1), g.version(proto))
}

// version is that the packet's version is that of IPv4 or IPv6.
func (g *generator) version(proto uint32) *cond {
	version := uint32(0x40)
	if proto == ether.TypeIPv6 {
		version = 0x60
	}
	return masked(g.network(0), 1, version, 0xf0)
}

// never is met by no frame.
func never() *cond { return compare(constant(0), equal, constant(1)) }

// link is that there is an Ethernet header; nil if that is certain.
func (g *generator) link() *cond {
	if g.raw {
		return never()
	}
	return g.framed
}

// ip4Proto is that IPv4 carries a protocol.
func (g *generator) ip4Proto(proto uint32) *cond {
	return g.withTerm(Term{Kind: Proto, Lo: uint16(proto)}, proto > 255,
		all(g.linkType(ether.TypeIPv4), field(g.network(9), 1, proto)))
}

// ip6Proto is that IPv6 does, also behind one fragment header, but no other
// extension header.
func (g *generator) ip6Proto(proto uint32) *cond {
	return g.withTerm(Term{Kind: Proto, Lo: uint16(proto)}, proto > 255,
		all(g.linkType(ether.TypeIPv6), anyOf(field(g.network(6), 1, proto),
			all(field(g.network(6), 1, ether.ProtoFragment), field(g.network(40), 1, proto)))))
}

// ipProto is that either does.
func (g *generator) ipProto(proto uint32) *cond {
	return anyOf(g.ip4Proto(proto), g.ip6Proto(proto))
}

func (g *generator) osiProto(proto uint32) *cond {
	return all(g.linkType(sapISO), field(g.payload.plus(g.osi), 1, proto))
}

// isisType is that a frame holds an IS-IS message of one of the types. The last type
// is tested first, then the others in order.
func (g *generator) isisType(types ...uint32) *cond {
	one := func(t uint32) *cond {
		return all(g.osiProto(osiISIS), field(g.payload.plus(g.osi+4), 1, t))
	}
	c := anyOf(one(types[0]), one(types[1]))
	for _, t := range types[2:] {
		c = anyOf(one(t), c)
	}
	return c
}

// proto is a protocol's name alone.
func (g *generator) proto(word string) *cond {
	switch word {
	case "ip":
		return g.linkType(ether.TypeIPv4)
	case "ip6":
		return g.linkType(ether.TypeIPv6)
	case "arp", "rarp", "atalk", "aarp", "decnet", "sca", "lat", "mopdl", "moprc", "iso", "stp", "ipx", "netbeui":
		return g.linkType(etherProtos[word])
	case "tcp":
		return g.ipProto(ether.ProtoTCP)
	case "udp":
		return g.ipProto(ether.ProtoUDP)
	case "sctp":
		return g.ipProto(ether.ProtoSCTP)
	case "pim":
		return g.ipProto(ether.ProtoPIM)
	case "ah":
		return g.ipProto(ether.ProtoAH)
	case "esp":
		return g.ipProto(ether.ProtoESP)
	case "icmp":
		return g.ip4Proto(ether.ProtoICMP)
	case "igmp":
		return g.ip4Proto(ether.ProtoIGMP)
	case "igrp":
		return g.ip4Proto(ether.ProtoIGRP)
	case "vrrp", "carp":
		return g.ip4Proto(ether.ProtoVRRP)
	case "icmp6":
		return g.ip6Proto(ether.ProtoICMPv6)
	case "esis", "isis", "clnp":
		return g.osiProto(osiProtos[word])
	case "l1":
		return g.isisType(15, 17, 18, 24, 26)
	case "l2":
		return g.isisType(16, 17, 20, 25, 27)
	case "iih":
		return g.isisType(15, 16, 17)
	case "lsp":
		return g.isisType(18, 20)
	case "snp":
		return g.isisType(24, 25, 26, 27)
	case "csnp":
		return g.isisType(24, 25)
	case "psnp":
		return g.isisType(26, 27)
	}
	fail(g.at, "%s alone is no condition: write %s host, %s proto or %s[...]", word, word, word, word)
	return nil
}

// protoNumber is "PROTO proto N".
func (g *generator) protoNumber(n uint32, q qualifiers) *cond {
	if q.dir != "" {
		fail(g.at, "%s does not go with proto", q.dir)
	}
	switch q.proto {
	case "":
		return g.ipProto(n)
	case "link":
		return g.linkType(n)
	case "ip":
		return g.ip4Proto(n)
	case "ip6":
		return g.ip6Proto(n)
	case "iso":
		return g.osiProto(n)
	case "isis":
		return all(g.osiProto(osiISIS), field(g.payload.plus(g.osi+4), 1, n))
	}
	fail(g.at, "%s proto: write ether, ip, ip6, iso or isis before proto", q.proto)
	return nil
}

// llc is "llc" with a type of frame or "".
func (g *generator) llc(word string) *cond {
	if g.ppp {
		fail(g.at, "llc behind pppoes: PPP has no LLC header")
	}
	frame := all(g.isLength(), not(field(g.payload, 2, 0xffff)))
	control := g.payload.plus(2)
	switch word {
	case "":
		return frame
	case "i":
		return all(frame, not(anyBit(control, 1, 1)))
	case "s":
		return all(frame, masked(control, 1, 1, 3))
	case "u":
		return all(frame, masked(control, 1, 3, 3))
	}
	if k, ok := map[string]uint32{"rr": 1, "rnr": 5, "rej": 9}[word]; ok {
		return all(frame, masked(control, 1, k, 0x0f))
	}
	if k, ok := map[string]uint32{"ui": 0x03, "ua": 0x63, "disc": 0x43, "dm": 0x0f, "sabme": 0x6f, "test": 0xe3, "xid": 0xaf, "frmr": 0x87}[word]; ok {
		return all(frame, masked(control, 1, k, 0xef))
	}
	fail(g.at, "llc %s: want i, s, u, rr, rnr, rej, ui, ua, disc, dm, sabme, test, xid or frmr", word)
	return nil
}

// byteTest is "byte N op M", which counts from the link layer's header.
func (g *generator) byteTest(off uint32, op string, k uint32) *cond {
	v := at(g.linkHeader.plus(off), 1)
	var c *cond
	switch op {
	case "=":
		c = compare(v, equal, constant(k))
	case ">":
		c = compare(v, greater, constant(k))
	case "<":
		c = not(compare(v, atLeast, constant(k)))
	case "&":
		c = not(compare(compute(and, v, constant(k)), equal, constant(0)))
	default:
		c = not(compare(compute(or, v, constant(k)), equal, constant(0)))
	}
	if g.raw {
		return never()
	}
	return c
}

func (g *generator) broadcast(proto string) *cond {
	switch proto {
	case "", "link":
		g.needEthernet("broadcast")
		return all(g.link(), octets(g.linkHeader, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
	case "ip":
		// Other broadcast addresses depend on the mask of a network, which is
		// unknown.
		return all(g.linkType(ether.TypeIPv4), anyOf(field(g.network(16), 4, 0), field(g.network(16), 4, 0xffffffff)))
	}
	fail(g.at, "%s broadcast: only ether and ip have one", proto)
	return nil
}

func (g *generator) multicast(proto string) *cond {
	switch proto {
	case "", "link":
		g.needEthernet("multicast")
		return all(g.link(), anyBit(g.linkHeader, 1, 1))
	case "ip":
		return all(g.linkType(ether.TypeIPv4), compare(at(g.network(16), 1), atLeast, constant(224)))
	case "ip6":
		return all(g.linkType(ether.TypeIPv6), field(g.network(24), 1, 255))
	}
	fail(g.at, "%s multicast: only ether, ip and ip6 have one", proto)
	return nil
}

// needEthernet refuses Ethernet addresses inside PPP.
func (g *generator) needEthernet(what string) {
	if g.ppp {
		fail(g.at, "%s behind pppoes: PPP has no Ethernet addresses: write it before pppoes", what)
	}
}

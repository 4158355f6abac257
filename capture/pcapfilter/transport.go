package pcapfilter

import "github.com/ixcap/ixcap/capture/internal/ether"

// ports is that a port of proto, or of any protocol that has ports, is in a range.
// Ports behind IPv6's extension headers and in later fragments of IPv4 are not read.
func (g *generator) ports(first, last uint32, proto int, dir string) *cond {
	kinds := []uint32{ether.ProtoSCTP, ether.ProtoTCP, ether.ProtoUDP}
	if proto != anyProto {
		kinds = []uint32{uint32(proto)}
	}
	v4 := all(g.linkType(ether.TypeIPv4), perProto(kinds, func(k uint32) *cond {
		header := headerLength(g.network(0))
		return all(
			field(g.network(9), 1, k), g.firstFragment(),
			direct(dir,
				func() *cond { return inRange(atIndex(g.network(0), header, 2), first, last) },
				func() *cond { return inRange(atIndex(g.network(2), header, 2), first, last) }))
	}))
	v6 := all(g.linkType(ether.TypeIPv6), perProto(kinds, func(k uint32) *cond {
		return all(
			field(g.network(6), 1, k),
			direct(dir,
				func() *cond { return inRange(at(g.network(40), 2), first, last) },
				func() *cond { return inRange(at(g.network(42), 2), first, last) }))
	}))
	return g.withTerm(Term{Kind: Port, Lo: uint16(first), Hi: uint16(last)}, false, anyOf(v6, v4))
}

// perProto tests one protocol after the other.
func perProto(kinds []uint32, f func(proto uint32) *cond) *cond {
	var c []*cond
	for _, k := range kinds {
		c = append(c, f(k))
	}
	return anyOf(c...)
}

// inRange is that a number lies in a range.
func inRange(v *value, first, last uint32) *cond {
	if first == last {
		return compare(v, equal, constant(first))
	}
	return all(compare(v, atLeast, constant(first)), not(compare(v, greater, constant(last))))
}

// firstFragment is that IPv4's offset of the fragment is 0.
func (g *generator) firstFragment() *cond { return not(anyBit(g.network(6), 2, 0x1fff)) }

// vlan is a tag, of that number if given. It moves what stands to its right.
func (g *generator) vlan(id uint32, given bool) *cond {
	switch {
	case g.labels > 0:
		fail(g.at, "vlan behind mpls: tags in a pseudowire are not supported: write vlan before mpls")
	case g.ppp:
		fail(g.at, "vlan behind pppoes: PPP has no tags: write vlan before pppoes")
	case given && id > 0xfff:
		fail(g.at, "vlan %d: tags have 12 bits, up to 4095", id)
	}
	c := anyOf(g.linkType(ether.TypeVLAN), g.linkType(ether.TypeQinQ), g.linkType(ether.TypeQinQOld))
	if given {
		c = all(c, masked(g.network(0), 2, id, 0x0fff))
	}
	g.typeField, g.payload = g.typeField.plus(4), g.payload.plus(4)
	return g.shift(vlanShift, c)
}

// mpls is a label, of that number if given. It moves what stands to its right.
func (g *generator) mpls(label uint32, given bool) *cond {
	if given && label > 0xfffff {
		fail(g.at, "mpls %d: labels have 20 bits, up to 1048575", label)
	}
	var c *cond
	switch {
	case g.labels > 0: // the label before is not the last one
		c = masked(g.network(^uint32(1)), 1, 0, 1)
	case g.ppp:
		c = g.linkType(pppMPLS)
	default:
		c = g.linkType(ether.TypeMPLS)
	}
	if given {
		c = all(c, masked(g.network(0), 4, label<<12, 0xfffff000))
	}
	g.skip += 4
	g.osi += 4
	g.labels++
	return g.shift(mplsShift, c)
}

// pppoes is a PPPoE session, of that number if given. What stands to its right reads
// PPP.
func (g *generator) pppoes(session uint32, given bool) *cond {
	if given && session > 0xffff {
		fail(g.at, "pppoes %d: sessions have 16 bits, up to 65535", session)
	}
	c := g.linkType(ether.TypePPPoES)
	if given {
		c = all(c, masked(g.network(0), 4, session, 0xffff))
	}
	g.linkHeader = g.network(6)
	g.typeField = g.linkHeader
	g.payload = g.linkHeader.plus(2)
	g.skip, g.osi = 0, 0
	g.ppp, g.raw, g.framed = true, false, nil
	return g.shift(pppoeShift, c)
}

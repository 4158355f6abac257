package pcapfilter

import "github.com/ixcap/ixcap/capture/internal/ether"

const (
	typeERSPAN  = 0x88be // of GRE: a mirrored Ethernet frame, types I and II
	typeERSPAN3 = 0x22eb // type III

	pppMPLS = 0x0281 // of PPP

	// maxTunnels is how many "geneve" and "vxlan" can stand in an expression: what is
	// computed for a place behind grows by a factor with each.
	maxTunnels = 2
)

// tunnel is a "geneve" or "vxlan" of the expression.
type tunnel struct {
	word  string
	at    int
	shift int // index of its shift
}

// geneve is a header of Geneve, version 0, of that network if given (RFC 8926). What
// stands to its right reads the packet that it carries: a frame of Ethernet, or the
// packet of the protocol that the header names.
func (g *generator) geneve(network uint32, given bool) *cond {
	header, c := g.openTunnel("geneve", ether.PortGeneve, network, given)
	protocol := at(header.plus(2), 2)
	options := compute(mul, compute(and, at(header, 1), constant(0x3f)), constant(4))
	// 1 for a frame of Ethernet, else 0.
	frame := compute(shr, compute(sub, compute(xor, protocol, constant(ether.TypeBridging)), constant(1)), constant(31))
	c = all(c, masked(header, 1, 0, 0xc0), vni(header, network, given), reads(protocol))
	g.linkHeader = g.within(header.plus(8), options)
	g.typeField = g.within(header.plus(2), compute(mul, frame, compute(add, options, constant(8+12-2))))
	g.payload = g.within(header.plus(8), compute(add, options, compute(mul, frame, constant(14))))
	g.framed = compare(protocol, equal, constant(ether.TypeBridging))
	return g.closeTunnel(c)
}

// vxlan is a header of VXLAN, of that network if given (RFC 7348). What stands to its
// right reads the frame that it carries.
func (g *generator) vxlan(network uint32, given bool) *cond {
	header, c := g.openTunnel("vxlan", ether.PortVXLAN, network, given)
	c = all(c, field(header, 1, 0x08), vni(header, network, given))
	g.linkHeader = g.within(header.plus(8), constant(0))
	g.typeField, g.payload = g.linkHeader.plus(12), g.linkHeader.plus(14)
	g.framed = nil
	return g.closeTunnel(c)
}

// openTunnel returns the offset of the header behind UDP's, and the condition that
// the port is the tunnel's.
func (g *generator) openTunnel(word string, port, network uint32, given bool) (offset, *cond) {
	switch {
	case len(g.tunnels) == maxTunnels:
		fail(g.at, "%s behind %d tunnels: write inner (...), which looks behind all", word, maxTunnels)
	case given && network > 0xffffff:
		fail(g.at, "%s %d: networks have 24 bits, up to 16777215", word, network)
	}
	// libpcap keeps three offsets in BPF's scratch memory from here on.
	for range 3 {
		g.allocate()
	}
	g.tunnels = append(g.tunnels, tunnel{word, g.at, len(g.shifts)})
	ip, six := g.network(0), g.isIPv6()
	udp := compute(add,
		compute(mul, headerLength(ip), compute(xor, six, constant(1))),
		compute(mul, six, constant(40)))
	if ip.base != nil {
		udp = compute(add, ip.base, udp)
	}
	return offset{udp, ip.off + 8}, g.ports(port, port, ether.ProtoUDP, "dst")
}

// closeTunnel makes what stands to the right read a frame.
func (g *generator) closeTunnel(c *cond) *cond {
	g.skip, g.osi, g.labels, g.ppp, g.raw = 0, 3, 0, false, false
	return g.shift(tunnelShift, c)
}

// within is x bytes behind an offset, inside the last tunnel.
func (g *generator) within(o offset, x *value) offset {
	v := *compute(add, o.base, x)
	v.tunnel = uint8(len(g.tunnels))
	return offset{&v, o.off}
}

// vni is that the header's network is that one, if given.
func vni(header offset, network uint32, given bool) *cond {
	if !given {
		return nil
	}
	return masked(header.plus(4), 4, network<<8, 0xffffff00)
}

// reads is met by all frames that have a value.
func reads(v *value) *cond { return compare(v, atLeast, constant(0)) }

// isIPv6 is 1 if the packet is of IPv6 and 0 if it is of IPv4.
func (g *generator) isIPv6() *value {
	switch {
	case g.ppp && g.labels == 0: // 0x57 or 0x21
		return compute(and, compute(shr, at(g.typeField, 2), constant(6)), constant(1))
	case g.labels > 0 || g.raw: // the version
		return compute(and, compute(shr, at(g.network(0), 1), constant(5)), constant(1))
	default: // 0x86dd or 0x0800
		return compute(shr, at(g.typeField, 2), constant(15))
	}
}

// certain refuses conditions that read behind a tunnel where the tunnel may not be:
// there is nothing to read, and libpcap's programs use memory there that they have
// not set. The shifts of the set known hold.
func (g *generator) certain(c *cond, known uint64) {
	switch {
	case c == nil || len(g.tunnels) == 0:
	case c.op == both || c.op == either:
		g.certain(c.x, known)
		sense := 0
		if c.op == both {
			sense = 1
		}
		g.certain(c.y, known|c.x.holds[sense])
	case c.op == negated || c.op == only:
		g.certain(c.x, known)
	default:
		n := max(c.left.within(), c.right.within())
		for _, t := range g.tunnels[:n] {
			if t.shift >= 63 || known>>t.shift&1 == 0 {
				fail(t.at, "%s moves all that stands to its right, and there it may not hold: join that with \"and\", put the rest before %s, or write inner (...)", t.word, t.word)
			}
		}
	}
}

// within is how many tunnels a value lies in.
func (v *value) within() int {
	if v == nil {
		return 0
	}
	return max(int(v.tunnel), v.x.within(), v.y.within())
}

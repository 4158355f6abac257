package pcapfilter

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// bare refuses a value without qualifiers.
func (g *generator) bare(q qualifiers) {
	if q.undefined {
		fail(g.at, "a value without a qualifier: write host, net, port or proto before it")
	}
}

// numberID is a number under qualifiers: port 80, proto 6, net 10.
func (g *generator) numberID(n uint32, q qualifiers, at int) *cond {
	g.at = at
	g.bare(q)
	switch q.kind {
	case "port", "portrange":
		if n > 65535 {
			fail(at, "port %d: ports go up to 65535", n)
		}
		return g.ports(n, n, g.portProto(q), q.dir)
	case "proto":
		return g.protoNumber(n, q)
	case "protochain":
		return g.protoChain(n, q)
	}
	if q.proto == "decnet" {
		return g.decnetAddress(n&0xffff, q.dir)
	}
	if q.kind == "net" {
		if n == 0 {
			return g.ipv4(0, 0xffffffff, q)
		}
		mask := uint32(0xffffffff)
		for n>>24 == 0 {
			n, mask = n<<8, mask<<8
		}
		return g.ipv4(n, mask, q)
	}
	if q.proto == "link" {
		fail(at, "a number is no Ethernet address: write six bytes, such as 00:1b:21:3c:9d:f8")
	}
	return g.ipv4(n, 0xffffffff, q)
}

// nameID is a name under qualifiers: port domain, ip proto \tcp.
func (g *generator) nameID(word string, q qualifiers) *cond {
	g.bare(q)
	switch q.kind {
	case "port":
		want := g.portProto(q)
		if strings.Contains(word, "-") && strings.Trim(word, "-0123456789") == "" {
			fail(g.at, "port %s: write portrange %s", word, word)
		}
		s := g.service(word)
		return g.ports(s.port, s.port, g.portMatch(word, want, s.proto), q.dir)
	case "portrange":
		want := g.portProto(q)
		first, last, two := strings.Cut(word, "-")
		if !two {
			fail(g.at, "portrange %s: write FIRST-LAST", word)
		}
		from, to := g.service(first), g.service(last)
		proto := from.proto
		if to.proto != proto {
			proto = anyProto
		}
		return g.ports(min(from.port, to.port), max(from.port, to.port), g.portMatch(word, want, proto), q.dir)
	case "proto", "protochain":
		var table map[string]uint32
		switch q.proto {
		case "", "ip", "ip6":
			table = ipProtos
		case "link":
			table = etherProtos
		case "iso":
			table = osiProtos
		}
		n, ok := table[word]
		if !ok {
			fail(g.at, "%s %s is not known: write its number", q.kind, word)
		}
		if q.kind == "protochain" {
			return g.protoChain(n, q)
		}
		return g.protoNumber(n, q)
	case "net":
		fail(g.at, "net %s: names of networks are not resolved: write the address, as in net 10.0.0.0/8", word)
	}
	if q.proto == "link" {
		fail(g.at, "ether host %s: names are not resolved: write the address, as in 00:1b:21:3c:9d:f8", word)
	}
	fail(g.at, "host %s: names of hosts are not resolved: write the address", word)
	return nil
}

// service is a port by name or number.
func (g *generator) service(word string) service {
	if n, err := strconv.ParseUint(word, 10, 32); err == nil {
		if n > 65535 {
			fail(g.at, "port %d: ports go up to 65535", n)
		}
		return service{uint32(n), anyProto}
	}
	s, ok := services[word]
	if !ok {
		fail(g.at, "port %s is not known: write its number", word)
	}
	return s
}

// portProto is the transport protocol that qualifiers ask for.
func (g *generator) portProto(q qualifiers) int {
	switch q.proto {
	case "":
		return anyProto
	case "tcp":
		return ether.ProtoTCP
	case "udp":
		return ether.ProtoUDP
	case "sctp":
		return ether.ProtoSCTP
	}
	fail(g.at, "%s %s: only tcp, udp and sctp have ports", q.proto, q.kind)
	return 0
}

// portMatch returns the protocol to test for a service that is registered for have.
func (g *generator) portMatch(word string, want, have int) int {
	switch {
	case want == anyProto || want == have:
		return have
	case have == anyProto:
		return want
	}
	fail(g.at, "port %s is of another protocol: write its number", word)
	return 0
}

// host4 is an IPv4 address, or its first bytes, which are a network.
func (g *generator) host4(text string, q qualifiers, at int) *cond {
	g.at = at
	g.bare(q)
	switch {
	case q.kind == "port" || q.kind == "portrange" || q.kind == "proto" || q.kind == "protochain":
		fail(at, "%s %s: an address is not allowed here: write host or net before it", q.kind, text)
	case q.proto == "link":
		fail(at, "ether host %s: write six bytes, such as 00:1b:21:3c:9d:f8, or leave out ether", text)
	}
	if q.proto == "decnet" {
		return g.decnetHost(text, q)
	}
	addr, length := g.dotted(text)
	return g.ipv4(addr, maskOf(length), q)
}

// net4 is addr/length, or addr with a mask in dotted form.
func (g *generator) net4(text, mask string, length uint32, q qualifiers, at int) *cond {
	g.at = at
	g.bare(q)
	addr, _ := g.dotted(text)
	var m uint32
	if mask != "" {
		m, _ = g.dotted(mask)
	} else {
		if length > 32 {
			fail(at, "%s/%d: an IPv4 address has 32 bits", text, length)
		}
		m = maskOf(length)
	}
	if addr&^m != 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], addr&m)
		fail(at, "%s has bits set beyond the mask: write %s", text, netip.AddrFrom4(b))
	}
	if q.kind != "net" {
		fail(at, "%s with a mask is a network: write net before it", text)
	}
	return g.ipv4(addr, m, q)
}

func maskOf(length uint32) uint32 { return ^uint32(0) << (32 - length) }

// dotted reads 1 to 4 decimal bytes, left-justified, and how many bits they are.
func (g *generator) dotted(text string) (addr, length uint32) {
	for _, part := range strings.Split(text, ".") {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			fail(g.at, "%s: want decimal bytes of 0 to 255", text)
		}
		addr, length = addr<<8|uint32(n), length+8
	}
	return addr << (32 - length), length
}

// ipv4 is that an address of IPv4, ARP or RARP is in a network.
func (g *generator) ipv4(addr, mask uint32, q qualifiers) *cond {
	in := func(proto, src, dst uint32) *cond {
		// libpcap tests the protocol for each direction again.
		one := func(off uint32) *cond {
			return all(g.linkType(proto), masked(g.network(off), 4, addr, mask))
		}
		return direct(q.dir, func() *cond { return one(src) }, func() *cond { return one(dst) })
	}
	var c *cond
	switch q.proto {
	case "":
		c = in(ether.TypeIPv4, 12, 16)
		if g.labels == 0 {
			c = anyOf(c, in(ether.TypeARP, 14, 24), in(ether.TypeRARP, 14, 24))
		}
	case "ip":
		c = in(ether.TypeIPv4, 12, 16)
	case "arp":
		c = in(ether.TypeARP, 14, 24)
	case "rarp":
		c = in(ether.TypeRARP, 14, 24)
	case "decnet":
		fail(g.at, "DECnet has no networks: write decnet host AREA.NODE")
	default:
		fail(g.at, "%s with an IPv4 address: write ip, arp, rarp or nothing before host and net, and \"and %s\" behind", q.proto, q.proto)
	}
	bits := 0
	for m := mask; m&(1<<31) != 0; m <<= 1 {
		bits++
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], addr)
	return g.withTerm(Term{Kind: Net, Net: netip.PrefixFrom(netip.AddrFrom4(b), bits)}, bits == 0 || mask != maskOf(uint32(bits)), c)
}

// direct joins the conditions on source and destination.
func direct(dir string, src, dst func() *cond) *cond {
	switch dir {
	case "src":
		return src()
	case "dst":
		return dst()
	case "and":
		return all(src(), dst())
	default:
		return anyOf(src(), dst())
	}
}

// net6 is that an address of IPv6 is in a network.
func (g *generator) net6(text string, length uint32, q qualifiers, at int) *cond {
	g.at = at
	g.bare(q)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		fail(at, "%s is no IPv6 address", text)
	}
	if length > 128 {
		fail(at, "%s/%d: an IPv6 address has 128 bits", text, length)
	}
	net := netip.PrefixFrom(addr, int(length))
	if v4 := addr.Is4In6(); v4 {
		// As a prefix of 16 bytes, which PrefixFrom keeps for such an address.
		net = netip.PrefixFrom(netip.AddrFrom16(addr.As16()), int(length))
	}
	if net.Masked().Addr() != addr {
		fail(at, "%s has bits set beyond /%d: write %s", text, length, net.Masked())
	}
	switch {
	case q.kind == "net":
	case q.kind != "" && q.kind != "host":
		fail(at, "%s %s: an address is not allowed here: write host or net before it", q.kind, text)
	case length != 128:
		fail(at, "%s/%d is a network: write net before it", text, length)
	}
	if q.proto != "" && q.proto != "ip6" {
		fail(at, "%s with an IPv6 address: write ip6 or nothing before host and net, and \"and %s\" behind", q.proto, q.proto)
	}
	a := addr.As16()
	one := func(off uint32) *cond {
		c := []*cond{g.linkType(ether.TypeIPv6)}
		for i := uint32(0); i < 4; i++ {
			left := min(max(int(length)-int(32*i), 0), 32)
			c = append(c, masked(g.network(off+4*i), 4, binary.BigEndian.Uint32(a[4*i:]), maskOf(uint32(left))))
		}
		return all(c...)
	}
	c := direct(q.dir, func() *cond { return one(8) }, func() *cond { return one(24) })
	return g.withTerm(Term{Kind: Net, Net: net}, length == 0, c)
}

// macID is an Ethernet address, in any of the usual forms.
func (g *generator) macID(text string, q qualifiers, at int) *cond {
	g.at = at
	g.bare(q)
	if q.proto != "link" || q.kind != "" && q.kind != "host" {
		fail(at, "%s is an Ethernet address: write ether host, ether src or ether dst before it", text)
	}
	g.needEthernet("an Ethernet address")
	var b []byte
	for s := strings.TrimLeft(text, ":.-"); s != ""; s = strings.TrimLeft(s, ":.-") {
		n := 1
		if len(s) > 1 && !strings.ContainsRune(":.-", rune(s[1])) {
			n = 2
		}
		x, err := strconv.ParseUint(s[:n], 16, 8)
		if err != nil {
			fail(at, "%s is no Ethernet address", text)
		}
		b, s = append(b, byte(x)), s[n:]
	}
	return all(g.link(), direct(q.dir,
		func() *cond { return octets(g.linkHeader.plus(6), b) },
		func() *cond { return octets(g.linkHeader, b) }))
}

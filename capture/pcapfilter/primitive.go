package pcapfilter

import (
	"strings"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// protos are the keywords that name a protocol.
var protos = map[string]bool{
	"link": true, "ip": true, "arp": true, "rarp": true, "sctp": true, "tcp": true, "udp": true,
	"icmp": true, "igmp": true, "igrp": true, "pim": true, "vrrp": true, "carp": true, "ip6": true,
	"icmp6": true, "ah": true, "esp": true, "atalk": true, "aarp": true, "decnet": true, "lat": true,
	"sca": true, "moprc": true, "mopdl": true, "iso": true, "esis": true, "isis": true, "clnp": true,
	"l1": true, "l2": true, "iih": true, "lsp": true, "snp": true, "csnp": true, "psnp": true,
	"stp": true, "ipx": true, "netbeui": true, "radio": true,
}

func isProto(word string) bool { return protos[word] }

// primitive parses a condition that begins with a keyword.
func (p *parser) primitive() piece {
	t := p.peek()
	refuseForeign(t)
	plain := func(c *cond) piece {
		return piece{form: condition, q: qualifiers{undefined: true}, cond: c}
	}
	var q qualifiers
	if isProto(t.text) {
		p.advance()
		q.proto = t.text
		refuseForeign(p.peek())
		if next := p.peek(); next.kind != keyword || !qualifies(next.text) {
			return plain(p.gen.proto(t.text))
		}
	}
	t = p.advance()
	switch t.text {
	case "src", "dst":
		q.dir = t.text
		// "src or dst" is one qualifier, as no value stands between.
		if other := p.ahead(1); p.isJoin() && other.kind == keyword && other.text == opposite(t.text) {
			q.dir = p.advance().text
			p.advance()
		}
		if next := p.peek(); next.kind == keyword && isType(next.text) {
			q.kind = p.advance().text
		}
	case "host", "net", "port", "portrange", "proto", "protochain":
		q.kind = t.text
	case "gateway":
		fail(t.at, "gateway needs host names, which are not resolved: write ether host MAC and not host ADDRESS")
	case "broadcast":
		return plain(p.gen.broadcast(q.proto))
	case "multicast":
		return plain(p.gen.multicast(q.proto))
	default:
		if q.proto != "" {
			p.unexpected(t, "host, net, port, portrange, proto, src, dst, broadcast or multicast")
		}
		return plain(p.other(t))
	}
	if next := p.peek(); q.dir != "" && (p.isJoin() || next.kind == atEnd) {
		fail(next.at, "%s where the value of %s is expected: write one behind it, as in src or dst host 192.0.2.1, src port 53 or dst port 80", next, p.text(t, next))
	}
	return piece{form: condition, q: q, cond: p.id(q)}
}

// isJoin reports whether the next token is "and" or "or".
func (p *parser) isJoin() bool { return p.isSign("and") || p.isSign("or") }

func isType(word string) bool {
	return word == "host" || word == "net" || word == "port" || word == "portrange"
}

// qualifies reports whether a keyword can follow the name of a protocol.
func qualifies(word string) bool {
	switch word {
	case "src", "dst", "proto", "protochain", "gateway", "broadcast", "multicast":
		return true
	}
	return isType(word)
}

// refuseForeign refuses words for what no Ethernet frame has.
func refuseForeign(t token) {
	if what, ok := foreign[t.text]; ok && t.kind == keyword {
		fail(t.at, "%s is for %s: Ethernet frames have no such field", t, what)
	}
}

func opposite(dir string) string {
	if dir == "src" {
		return "dst"
	}
	return "src"
}

// other parses a primitive that begins with the keyword t, which is no qualifier.
func (p *parser) other(t token) *cond {
	switch t.text {
	case "less":
		return not(compare(&value{op: wireLen}, greater, constant(p.needNumber(t.text))))
	case "greater":
		return compare(&value{op: wireLen}, atLeast, constant(p.needNumber(t.text)))
	case "byte":
		off := p.needNumber(t.text)
		op := p.advance()
		if op.kind == sign {
			switch op.text {
			case "=", "<", ">", "&", "|":
				return p.gen.byteTest(off, op.text, p.needNumber(t.text))
			}
		}
		p.unexpected(op, "one of = < > & |")
	case "vlan":
		n, given := p.optionalNumber()
		return p.gen.vlan(n, given)
	case "mpls":
		n, given := p.optionalNumber()
		return p.gen.mpls(n, given)
	case "pppoed":
		return p.gen.linkType(ether.TypePPPoED)
	case "pppoes":
		n, given := p.optionalNumber()
		return p.gen.pppoes(n, given)
	case "geneve":
		n, given := p.optionalNumber()
		p.gen.at = t.at
		return p.gen.geneve(n, given)
	case "vxlan":
		n, given := p.optionalNumber()
		p.gen.at = t.at
		return p.gen.vxlan(n, given)
	case "inner":
		return p.inner(t)
	case "llc":
		if n := p.peek(); n.kind == name || n.kind == keyword && n.text == "rnr" {
			p.advance()
			return p.gen.llc(strings.ToLower(n.text))
		}
		return p.gen.llc("")
	}
	p.unexpected(t, "a condition, such as host, net, port or tcp")
	return nil
}

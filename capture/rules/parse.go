package rules

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// What Parse takes at most.
const (
	maxText       = 1 << 20 // bytes
	maxRules      = 4096
	maxPrimitives = 32 // of a rule
	maxTags       = 4  // VLAN tags and MPLS labels that a rule looks behind
)

// Parse reads rules; the package's documentation is their grammar. An error names
// the place and what to write instead.
func Parse(text string) (*Rules, error) {
	if len(text) > maxText {
		return nil, errors.New("rules: more than 1 MiB of rules")
	}
	tokens, err := scan(text)
	if err != nil {
		return nil, err
	}
	p := &parser{text: text, tokens: tokens}
	r := &Rules{rest: all}
	for done := false; ; {
		for p.peek() == ";" {
			p.next()
		}
		at := p.at()
		switch {
		case p.peek() == "":
			r.compile()
			return r, nil
		case done:
			return nil, errorAt(text, at, "a rule behind the one without a match, which matches every frame: move that to the end")
		case len(r.rules) == maxRules:
			return nil, errorAt(text, at, "more than %d rules", maxRules)
		}
		var match []primitive
		if p.peek() == "(" {
			if match, err = p.match(); err != nil {
				return nil, err
			}
		}
		do, err := p.action(match == nil)
		if err != nil {
			return nil, err
		}
		if match == nil {
			r.rest, done = do, true
			continue
		}
		r.rules = append(r.rules, rule{match: match, do: do})
	}
}

type parser struct {
	text   string
	tokens []token
	i      int
	// Headers that the primitives of a rule have passed so far.
	tags, labels int
}

func (p *parser) peek() string { return p.tokens[p.i].text }
func (p *parser) at() int      { return p.tokens[p.i].at }

func (p *parser) next() token {
	t := p.tokens[p.i]
	if t.text != "" {
		p.i++
	}
	return t
}

// fail is an error at the token that next gave last.
func (p *parser) fail(t token, format string, args ...any) error {
	return errorAt(p.text, t.at, format, args...)
}

const actions = "drop, all, headers, or the number of bytes to keep, 1 to 65535"

// action reads what to do, and the end of the rule. alone: it has no match.
func (p *parser) action(alone bool) (action, error) {
	t := p.next()
	do := drop
	switch n, err := strconv.ParseUint(t.text, 10, 64); {
	case t.text == "drop":
	case t.text == "all":
		do = all
	case t.text == "headers":
		do = headers
	case err == nil && n >= 1 && n <= mostBytes:
		do = action(n)
	case err == nil && n == 0:
		return 0, p.fail(t, "0 bytes to keep: write drop")
	case alone && err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, p.fail(t, "%q: want a rule, (MATCH) ACTION, or alone %s", t.text, actions)
	default:
		return 0, p.fail(t, "%q: want %s", t.text, actions)
	}
	if end := p.peek(); end != ";" && end != "" {
		return 0, errorAt(p.text, p.at(), "%q behind %q: rules are separated by ; or the end of a line", end, t.text)
	}
	return do, nil
}

// match reads primitives in parentheses.
func (p *parser) match() ([]primitive, error) {
	p.next()
	p.tags, p.labels = 0, 0
	var out []primitive
	for {
		at := p.at()
		one, err := p.primitive()
		if err != nil {
			return nil, err
		}
		out = append(out, one)
		if len(out) > maxPrimitives {
			return nil, errorAt(p.text, at, "more than %d primitives in a rule", maxPrimitives)
		}
		switch t := p.next(); t.text {
		case ")":
			return out, nil
		case "and", "&&":
		case "or", "||":
			return nil, p.fail(t, "%q in a match: write two rules, one for each side, with the same action", t.text)
		case "", ";":
			return nil, p.fail(t, "the match is not closed: want ) or and")
		default:
			return nil, p.fail(t, "%q: want and, or ) and an action", t.text)
		}
	}
}

const primitives = "ip, ip6, arp, tcp, udp, sctp, icmp, icmp6, proto N, [src|dst] host A, [src|dst] net A/LEN, [src|dst] port N, " +
	"[src|dst] portrange N-M, vlan [N], mpls [N], ether [src|dst] host MAC or ether proto N, each with not before it or without"

// primitive reads one test and what it looks behind.
func (p *parser) primitive() (primitive, error) {
	var one primitive
	t := p.next()
	for t.text == "not" || t.text == "!" {
		one.not = !one.not
		t = p.next()
	}
	ether := t.text == "ether"
	if ether {
		t = p.next()
	}
	switch t.text {
	case "src":
		one.dir, t = source, p.next()
	case "dst":
		one.dir, t = destination, p.next()
	}
	if err := p.test(&one, t, ether); err != nil {
		return one, err
	}
	one.link = uint16(12 + 4*p.tags)
	one.load = uint16(14 + 4*p.tags + 4*p.labels)
	one.deep = p.labels > 0
	switch one.kind {
	case isVLAN:
		if one.deep {
			return one, p.fail(t, "vlan behind mpls: a tag is in front of labels, write vlan first")
		}
		p.tags++
	case isMPLS:
		p.labels++
	case isARP:
		if one.deep {
			return one, p.fail(t, "arp behind mpls: only ip and ip6 can be told there")
		}
	case isEtherProto:
		if one.deep && one.lo != typeIPv4 && one.lo != typeIPv6 {
			return one, p.fail(t, "ether proto behind mpls: only ip and ip6 can be told there")
		}
	}
	if p.tags+p.labels > maxTags {
		return one, p.fail(t, "more than %d of vlan and mpls in a rule", maxTags)
	}
	return one, nil
}

// test reads the test that begins with t.
func (p *parser) test(one *primitive, t token, ether bool) error {
	switch {
	case t.text == "":
		return p.fail(t, "the match ends here: want %s", primitives)
	case t.text == "(":
		return p.fail(t, "parentheses within a match: leave them away, and write two rules where they hold an or")
	case t.text == "or" || t.text == "||":
		return p.fail(t, "%q in a match: write two rules, one for each side, with the same action", t.text)
	case ether && t.text == "host":
		return p.mac(one)
	case ether && t.text == "proto" && one.dir == either:
		return p.etherProto(one)
	case ether:
		return p.fail(t, "%q behind ether: want [src|dst] host MAC or proto N", t.text)
	}
	switch t.text {
	case "host", "net":
		return p.address(one, t)
	case "port":
		one.kind = isPort
		n, err := p.number("a port", 0xffff)
		one.lo, one.hi = n, n
		return err
	case "portrange":
		return p.portrange(one)
	}
	if one.dir != either {
		return p.fail(t, "%q behind src or dst: want host, net, port or portrange", t.text)
	}
	switch t.text {
	case "proto":
		one.kind = isProto
		n, err := p.number("an IP protocol", 0xff)
		one.lo = n
		return err
	case "vlan":
		return p.optional(one, isVLAN, "a VLAN", 0xfff)
	case "mpls":
		return p.optional(one, isMPLS, "an MPLS label", 0xfffff)
	}
	for k := isIP; k <= isICMP6; k++ {
		if words[k] == t.text {
			one.kind = k
			one.lo = protoOf[k]
			return p.alone(t)
		}
	}
	if _, err := netip.ParseAddr(t.text); err == nil {
		return p.fail(t, "%q: write host %s", t.text, t.text)
	}
	return p.fail(t, "%q: want %s", t.text, primitives)
}

// alone refuses pcap-filter's way of a protocol before another primitive.
func (p *parser) alone(t token) error {
	switch next := p.peek(); next {
	case "host", "net", "port", "portrange", "proto", "src", "dst":
		return errorAt(p.text, p.at(), "%q behind %q: write %s and %s", next, t.text, t.text, next)
	}
	return nil
}

// number reads a number up to most.
func (p *parser) number(what string, most uint64) (uint32, error) {
	t := p.next()
	n, err := parseNumber(t.text)
	if err != nil || n > most {
		return 0, p.fail(t, "%q: want %s, a number from 0 to %d", t.text, what, most)
	}
	return uint32(n), nil
}

// parseNumber takes decimal and 0x; a leading 0 means octal to some, so it is refused.
func parseNumber(s string) (uint64, error) {
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		return strconv.ParseUint(hex, 16, 64)
	}
	if len(s) > 1 && s[0] == '0' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

// optional reads a number if there is one.
func (p *parser) optional(one *primitive, k kind, what string, most uint64) (err error) {
	one.kind = k
	switch next := p.peek(); {
	case next != "" && next[0] >= '0' && next[0] <= '9':
		one.lo, err = p.number(what, most)
	default:
		one.any = true
	}
	return err
}

func (p *parser) portrange(one *primitive) error {
	one.kind = isPort
	t := p.next()
	from, to, ok := strings.Cut(t.text, "-")
	lo, err1 := parseNumber(from)
	hi, err2 := parseNumber(to)
	if !ok || err1 != nil || err2 != nil || lo > hi || hi > 0xffff {
		return p.fail(t, "%q: want two ports as in 1024-2047, the smaller first", t.text)
	}
	one.lo, one.hi = uint32(lo), uint32(hi)
	return nil
}

func (p *parser) etherProto(one *primitive) error {
	t := p.tokens[p.i]
	n, err := p.number("an Ethernet type", 0xffff)
	if err != nil {
		return err
	}
	switch n {
	case 0xe0, 0x809b, 0x80f3:
		return p.fail(t, "ether proto %s means IPX or AppleTalk in SNAP frames, too, which are not looked into", t.text)
	}
	one.kind, one.lo = isEtherProto, n
	return nil
}

// mac reads six bytes in hexadecimal, one or two digits each, with colons.
func (p *parser) mac(one *primitive) error {
	one.kind = isEtherHost
	t := p.next()
	parts := strings.Split(t.text, ":")
	for i, s := range parts {
		if len(s) == 1 {
			parts[i] = "0" + s
		}
	}
	a, err := net.ParseMAC(strings.Join(parts, ":"))
	if err != nil || len(a) != 6 || len(parts) != 6 {
		return p.fail(t, "%q: want a MAC address as 00:1b:21:0a:0b:0c", t.text)
	}
	one.mac = uint64(binary.BigEndian.Uint16(a))<<32 | uint64(binary.BigEndian.Uint32(a[2:]))
	return nil
}

// address reads what is behind host and net.
func (p *parser) address(one *primitive, word token) error {
	t := p.next()
	if word.text == "host" {
		a, err := netip.ParseAddr(t.text)
		switch {
		case err != nil && strings.Contains(t.text, "/"):
			return p.fail(t, "%q: a host has no length, write net %s", t.text, t.text)
		case err != nil:
			return p.fail(t, "%q: want an IPv4 or IPv6 address in numbers", t.text)
		}
		one.kind, one.net = isHost, netip.PrefixFrom(a, a.BitLen())
	} else {
		n, err := netip.ParsePrefix(t.text)
		switch {
		case err != nil:
			return p.fail(t, "%q: want an IPv4 or IPv6 address and a length, as 10.0.0.0/8", t.text)
		case n != n.Masked():
			return p.fail(t, "%q: bits are set behind the first %d, write net %v", t.text, n.Bits(), n.Masked())
		}
		one.kind, one.net = isNet, n
	}
	b := one.net.Addr().AsSlice()
	for i := range one.net.Addr().BitLen() / 32 {
		bits := min(max(one.net.Bits()-32*i, 0), 32)
		one.addr[i] = binary.BigEndian.Uint32(b[4*i:])
		one.mask[i] = uint32(^uint64(0) << (32 - bits))
	}
	return nil
}

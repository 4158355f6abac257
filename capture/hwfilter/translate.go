package hwfilter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/driver"
)

// alternative is a filter, and what the expression matches beyond it.
type alternative struct {
	driver.Filter
	rest []string
}

const mostAlternatives = 256

// translate returns filters that together match part of what the expression matches, and
// why the other parts are left out. The expression compiles.
func translate(expression string) (list []alternative, rest []string) {
	if isSYN(expression) {
		return []alternative{{driver.Filter{SYN: true}, []string{"fragments"}}}, nil
	}
	t := &translator{words: split(expression)}
	out := t.or()
	if t.err == "" && len(t.words) > 0 {
		t.fail("%q", strings.Join(t.words, " "))
	}
	if t.err != "" {
		return nil, []string{"the chip does not compare " + t.err}
	}
	for _, a := range out {
		switch {
		case a.empty:
			continue
		case a.lack != "":
			rest = append(rest, a.lack)
			continue
		case a.tagged && a.f.VLAN == 0:
			rest = append(rest, "what is behind a VLAN tag of any number")
			continue
		}
		list = append(list, a.filters()...)
	}
	if len(list) > mostAlternatives {
		return nil, []string{fmt.Sprintf("it takes %d filters", len(list))}
	}
	return list, rest
}

// isSYN reports whether the expression is that of the SYN filter.
func isSYN(expression string) bool {
	switch strings.ReplaceAll(expression, " ", "") {
	case "tcp[tcpflags]&tcp-syn!=0", "tcp[13]&2!=0", "tcp[tcpflags]&(tcp-syn)!=0":
		return true
	}
	return false
}

// split splits an expression into words and signs.
func split(expression string) []string {
	for _, sign := range []string{"(", ")", "&&", "||", "!"} {
		expression = strings.ReplaceAll(expression, sign, " "+sign+" ")
	}
	return strings.Fields(expression)
}

// part is a conjunction of conditions.
type part struct {
	f        driver.Filter
	ip       bool   // a condition on IP. Addresses without one are those of ARP, too
	untagged bool   // a condition in front of "vlan"
	tagged   bool   // "vlan", or a condition behind it
	lack     string // a condition that the chip does not compare
	empty    bool   // no frame matches
}

// translator parses the part of the grammar that the chip can do: conditions joined by
// "and" and "or", which bind alike, from left to right, as in pcap-filter(7).
type translator struct {
	words []string
	err   string
	last  []string // qualifiers that a bare value inherits, not out of parentheses
	tags  int      // "vlan" so far: each moves what the rest of the text compares by a tag
}

func (t *translator) fail(format string, args ...any) {
	if t.err == "" {
		t.err = fmt.Sprintf(format, args...)
	}
	t.words = nil
}

func (t *translator) next() string {
	if len(t.words) == 0 {
		return ""
	}
	w := t.words[0]
	t.words = t.words[1:]
	return w
}

func (t *translator) peek() string {
	if len(t.words) == 0 {
		return ""
	}
	return t.words[0]
}

func (t *translator) or() []part {
	left := t.term()
	for {
		switch t.peek() {
		case "or", "||":
			t.next()
			left = append(left, t.term()...)
		case "and", "&&":
			t.next()
			left = join(left, t.term())
		default:
			return left
		}
		if len(left) > mostAlternatives {
			t.fail("so many alternatives")
			return nil
		}
	}
}

func (t *translator) term() []part {
	if t.peek() == "(" {
		t.next()
		last := t.last
		inner := t.or()
		if t.next() != ")" {
			t.fail("this: a parenthesis")
		}
		t.last = last
		return inner
	}
	if t.peek() == "vlan" {
		return t.vlan()
	}
	out := t.primitive()
	for i := range out {
		out[i].untagged, out[i].tagged = t.tags == 0, t.tags > 0
		if t.tags > 1 {
			out[i].lack = "frames with several VLAN tags"
		}
	}
	return out
}

// vlan parses "vlan" and its number, which apply to the outermost tag that no other
// "vlan" in front of them compares.
func (t *translator) vlan() []part {
	t.next()
	t.tags++
	t.last = nil
	id, err := strconv.ParseUint(t.peek(), 0, 12)
	if err == nil {
		t.next()
	}
	one := part{f: driver.Filter{VLAN: uint16(id)}, tagged: true}
	switch {
	case err != nil || id == 0:
		one.lack = "vlan without a number"
	case t.tags > 1:
		one.lack = "frames with several VLAN tags"
	}
	return []part{one}
}

// join returns the conjunctions of each pair.
func join(a, b []part) (out []part) {
	for _, x := range a {
		for _, y := range b {
			out = append(out, x.and(y))
		}
	}
	return out
}

func (p part) and(q part) part {
	merge := func(same bool) { p.empty = p.empty || !same }
	pick := func(to *uint16, v uint16) {
		merge(*to == 0 || v == 0 || *to == v)
		*to = max(*to, v)
	}
	prefix := func(to *netip.Prefix, v netip.Prefix) {
		switch {
		case !v.IsValid() || to.IsValid() && v.Bits() <= to.Bits() && v.Contains(to.Addr()):
		case !to.IsValid() || to.Bits() < v.Bits() && to.Contains(v.Addr()):
			*to = v
		default:
			merge(false)
		}
	}
	p.ip, p.untagged, p.tagged = p.ip || q.ip, p.untagged || q.untagged, p.tagged || q.tagged
	p.empty = p.empty || q.empty || p.untagged && p.tagged
	if p.lack == "" {
		p.lack = q.lack
	}
	merge(p.f.Family == 0 || q.f.Family == 0 || p.f.Family == q.f.Family)
	merge(p.f.Protocol == 0 || q.f.Protocol == 0 || p.f.Protocol == q.f.Protocol)
	p.f.Family = max(p.f.Family, q.f.Family)
	p.f.Protocol = max(p.f.Protocol, q.f.Protocol)
	pick(&p.f.EtherType, q.f.EtherType)
	pick(&p.f.SrcPort, q.f.SrcPort)
	pick(&p.f.DstPort, q.f.DstPort)
	pick(&p.f.VLAN, q.f.VLAN)
	prefix(&p.f.Src, q.f.Src)
	prefix(&p.f.Dst, q.f.Dst)
	return p
}

var protocols = map[string]uint8{"tcp": driver.ProtocolTCP, "udp": driver.ProtocolUDP, "sctp": driver.ProtocolSCTP}

// primitive parses one condition: a few alternatives.
func (t *translator) primitive() []part {
	if len(t.last) > 0 && isValue(t.peek()) {
		t.words = append(append([]string{}, t.last...), t.words...)
	}
	var seen []string
	var base part
	word := t.next()
	take := func() { seen, word = append(seen, word), t.next() }
	switch word {
	case "ip", "ip6":
		base.f.Family = map[string]int{"ip": 4, "ip6": 6}[word]
		base.ip = true
		if !qualifies(t.peek()) {
			return []part{base}
		}
		take()
	case "tcp", "udp", "sctp":
		base.f.Protocol, base.ip = protocols[word], true
		if !qualifies(t.peek()) {
			return []part{base}
		}
		take()
	case "arp", "rarp":
		return []part{{f: driver.Filter{EtherType: map[string]uint16{"arp": 0x806, "rarp": 0x8035}[word]}}}
	case "ether":
		if t.next() != "proto" {
			t.fail("addresses of Ethernet")
			return nil
		}
		etype, err := strconv.ParseUint(strings.TrimPrefix(t.next(), "\\"), 0, 16)
		if err != nil {
			t.fail("a named EtherType: write its number")
			return nil
		}
		if etype == 0 {
			return lacking("ether proto 0")
		}
		return []part{{f: driver.Filter{EtherType: uint16(etype)}}}
	}
	src, dst := true, true
	if word == "src" || word == "dst" {
		src, dst = word == "src", word == "dst"
		take()
	}
	kind := word
	switch kind {
	case "host", "net", "port":
		take()
	default:
		if !isValue(kind) || src && dst {
			t.fail("%q", kind)
			return nil
		}
		kind = "host"
	}
	t.last = seen
	return t.value(kind, word, base, src, dst)
}

// lacking is a condition that the chip does not compare.
func lacking(what string) []part { return []part{{lack: what}} }

func qualifies(word string) bool {
	switch word {
	case "src", "dst", "host", "net", "port":
		return true
	}
	return false
}

// isValue reports whether a word is an address or a number.
func isValue(word string) bool {
	return word != "" && (word[0] >= '0' && word[0] <= '9' || strings.Contains(word, ":"))
}

// value parses the value of host, net or port.
func (t *translator) value(kind, word string, base part, src, dst bool) (out []part) {
	if t.peek() == "or" && (word == "src" || word == "dst") || t.peek() == "mask" {
		t.fail("%q here", t.peek())
		return nil
	}
	if kind == "port" {
		return t.port(word, base, src, dst)
	}
	var a netip.Prefix
	if addr, err := netip.ParseAddr(word); err == nil {
		a = netip.PrefixFrom(addr, addr.BitLen())
	} else if a, err = netip.ParsePrefix(word); err != nil {
		t.fail("%q: write an address or ADDRESS/LENGTH", word)
		return nil
	}
	family := 4
	if a.Addr().Is6() {
		family = 6
	}
	one := part{f: driver.Filter{Family: family}, ip: family == 6}
	if src {
		x := one
		x.f.Src = a.Masked()
		out = append(out, base.and(x))
	}
	if dst {
		x := one
		x.f.Dst = a.Masked()
		out = append(out, base.and(x))
	}
	return out
}

func (t *translator) port(word string, base part, src, dst bool) (out []part) {
	n, err := strconv.ParseUint(word, 0, 16)
	if err != nil {
		t.fail("port %q: write its number", word)
		return nil
	}
	if n == 0 {
		return lacking("port 0")
	}
	list := []uint8{base.f.Protocol}
	if base.f.Protocol == 0 {
		list = []uint8{driver.ProtocolTCP, driver.ProtocolUDP, driver.ProtocolSCTP}
	}
	for _, protocol := range list {
		x := base
		x.f.Protocol, x.ip = protocol, true
		if src {
			y := x
			y.f.SrcPort = uint16(n)
			out = append(out, y)
		}
		if dst {
			y := x
			y.f.DstPort = uint16(n)
			out = append(out, y)
		}
	}
	return out
}

// filters are the filters for a conjunction, with what it matches beyond them. A protocol
// without an address is compared for IPv4 only: that takes no Flow Director.
func (p part) filters() []alternative {
	var rest []string
	f := p.f
	if !p.ip && (f.Src.IsValid() || f.Dst.IsValid()) {
		rest = append(rest, "addresses in ARP")
	}
	if f.Protocol != 0 {
		rest = append(rest, "fragments")
	}
	if f.Family == 0 && f.Protocol != 0 && f.VLAN == 0 {
		f.Family = 4
		rest = append(rest, "IPv6")
	}
	if f.Family == 0 && f.VLAN != 0 {
		rest = append(rest, "what is not IP in the VLAN")
	}
	return []alternative{{f, rest}}
}

// text describes the filter in the words of an expression.
func (a *alternative) text() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	f := &a.Filter
	if f.EtherType != 0 {
		add("ether proto %#04x", f.EtherType)
	}
	if f.VLAN != 0 {
		add("vlan %d", f.VLAN)
	}
	if f.Family != 0 && !f.Src.IsValid() && !f.Dst.IsValid() {
		add("%s", map[int]string{4: "ip", 6: "ip6"}[f.Family])
	}
	for name, number := range protocols {
		if number == f.Protocol {
			add("%s", name)
		}
	}
	if f.Src.IsValid() {
		add("src net %s", f.Src)
	}
	if f.Dst.IsValid() {
		add("dst net %s", f.Dst)
	}
	if f.SrcPort != 0 {
		add("src port %d", f.SrcPort)
	}
	if f.DstPort != 0 {
		add("dst port %d", f.DstPort)
	}
	if f.SYN {
		add("SYN")
	}
	return strings.Join(words, " and ")
}

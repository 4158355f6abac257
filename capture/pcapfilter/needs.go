package pcapfilter

import (
	"fmt"
	"net/netip"
)

// Kind of a Term.
type Kind uint8

const (
	Net   Kind = iota + 1 // an address in Net
	Port                  // a port from Lo to Hi
	Proto                 // the IP protocol Lo
)

// Term is a property of a frame.
//
// Headers are read behind the Ethernet header and any number of VLAN tags
// (types 0x8100, 0x88a8, 0x9100), then behind a stack of MPLS labels (type 0x8847)
// or in a PPPoE session; the type field alone decides what follows; version and
// checksum are not tested. Behind MPLS the version decides. A frame has
//
//   - the source and destination addresses of IPv4 and IPv6, and the two protocol
//     addresses of ARP and RARP, read as IPv4's; of a truncated IPv6 address the
//     bytes that are there, which can be enough for a network;
//   - the protocol of the IPv4 header, the next header of the IPv6 header, and the
//     next header of an IPv6 fragment header right behind that;
//   - the source and destination ports of TCP, UDP and SCTP: right behind the IPv4
//     header, whatever length it claims, in first fragments (offset 0); and right
//     behind the 40 bytes of IPv6.
type Term struct {
	Kind   Kind
	Net    netip.Prefix
	Lo, Hi uint16
}

func (t Term) String() string {
	switch {
	case t.Kind == Net:
		return "net " + t.Net.String()
	case t.Kind == Proto:
		return fmt.Sprintf("proto %d", t.Lo)
	case t.Lo == t.Hi:
		return fmt.Sprintf("port %d", t.Lo)
	default:
		return fmt.Sprintf("portrange %d-%d", t.Lo, t.Hi)
	}
}

// Needs is what a frame must have to match a filter, in terms. An index uses it to
// skip data. The zero value needs nothing.
type Needs struct {
	op   needOp
	term Term
	sub  []Needs
}

type needOp uint8

const (
	needNothing needOp = iota
	needTerm
	needAll
	needAny
)

// May reports whether any frame of a set can match. has(t) must be false only if no
// frame of the set has t; it is true for a Kind that the caller does not index. If
// Match is true for a frame of the set, May is.
func (n Needs) May(has func(Term) bool) bool {
	switch n.op {
	case needTerm:
		return has(n.term)
	case needAll:
		for _, s := range n.sub {
			if !s.May(has) {
				return false
			}
		}
		return true
	case needAny:
		for _, s := range n.sub {
			if s.May(has) {
				return true
			}
		}
		return false
	default:
		return true
	}
}

// String writes the terms with and, or and parentheses; "anything" stands for no
// need.
func (n Needs) String() string {
	switch n.op {
	case needTerm:
		return n.term.String()
	case needAll, needAny:
		word := " and "
		if n.op == needAny {
			word = " or "
		}
		s := "("
		for i, x := range n.sub {
			if i > 0 {
				s += word
			}
			s += x.String()
		}
		return s + ")"
	default:
		return "anything"
	}
}

// Needs returns what a frame must have to match.
func (f *Filter) Needs() Needs { return f.needs }

// shiftKind is a primitive that moves what follows.
type shiftKind uint8

const (
	vlanShift shiftKind = iota
	mplsShift
	pppoeShift
	tunnelShift
)

// lost marks a term that stands where Term does not read: behind shifts in another
// order, or behind more than a set holds.
const lost = 1 << 63

// shift records a condition that moves what stands to its right.
func (g *generator) shift(k shiftKind, c *cond) *cond {
	c = &cond{op: only, x: c, holds: c.holds}
	if n := len(g.shifts); n < 63 {
		c.holds[1] |= 1 << n
	}
	g.shifts = append(g.shifts, k)
	return c
}

// withTerm marks a condition that only frames with a term meet, unless the argument
// unless is true.
func (g *generator) withTerm(t Term, unless bool, c *cond) *cond {
	if unless {
		return c
	}
	under := uint64(0)
	for i := range g.shifts {
		// Tags, then labels or one session: behind labels the parser allows no others.
		if i >= 63 || g.shifts[i] == tunnelShift || i > 0 && g.shifts[i-1] == pppoeShift {
			under |= lost
			continue
		}
		under |= 1 << i
	}
	return &cond{op: only, x: c, holds: c.holds, term: &t, under: under}
}

// needs is what a frame needs for c to be want. The shifts of the set known hold.
//
// A term behind a shift counts only where the shift holds: in "vlan or host A" the
// address is read 4 bytes further on in untagged frames, too, where there is none.
func needs(c *cond, want bool, known uint64) Needs {
	switch {
	case c == nil:
		return Needs{}
	case c.op == negated:
		return needs(c.x, !want, known)
	case c.op == only:
		if want && c.term != nil && c.under&^known == 0 {
			return Needs{op: needTerm, term: *c.term}
		}
		return needs(c.x, want, known)
	case c.op == both && want || c.op == either && !want:
		if want {
			known |= c.holds[1]
		} else {
			known |= c.holds[0]
		}
		return joined(needAll, needs(c.x, want, known), needs(c.y, want, known))
	case c.op == either || c.op == both:
		return joined(needAny, needs(c.x, want, known), needs(c.y, want, known))
	default:
		return Needs{}
	}
}

// joined is the conjunction or disjunction of two needs.
func joined(op needOp, x, y Needs) Needs {
	switch {
	case op == needAll && x.op == needNothing:
		return y
	case op == needAll && y.op == needNothing:
		return x
	case x.op == needNothing || y.op == needNothing:
		return Needs{}
	case x.op == needTerm && y.op == needTerm && x.term == y.term:
		return x
	}
	// Nothing else uses the left side: long chains grow in place.
	out := x
	if x.op != op {
		out = Needs{op: op, sub: []Needs{x}}
	}
	if y.op == op {
		out.sub = append(out.sub, y.sub...)
	} else {
		out.sub = append(out.sub, y)
	}
	return out
}

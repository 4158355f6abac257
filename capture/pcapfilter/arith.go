package pcapfilter

import "github.com/ixcap/ixcap/capture/internal/ether"

// maxRegisters is how many intermediate results an arithmetic expression can
// have at a time, as in libpcap: BPF's scratch memory.
const maxRegisters = 16

// arith is arithmetic as it is parsed: a value, and the condition under which it is
// defined (the frame has the protocols whose headers are read).
type arith struct {
	value *value
	when  *cond
}

// precedence of a sign in arithmetic. A sign of precedence 0 shifts first, as in
// libpcap's grammar: a % b + c is a % (b + c), and a + b % c is a + (b % c).
var precedence = map[string]int{
	"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5, "%": 0, "^": 0, "negate": 6,
}

var signs = map[string]valueOp{
	"|": or, "&": and, "<<": shl, ">>": shr, "+": add, "-": sub, "*": mul, "/": div, "%": mod, "^": xor,
}

// pending is an operator that waits for its right side.
type pending struct {
	text string
	at   int
}

// arithmetic parses operands and operators. first is the operand parsed already, or
// nil. A number alone stays plain.
func (p *parser) arithmetic(first *piece) piece {
	var (
		vals []piece
		ops  []pending
	)
	for {
		if first != nil {
			vals, first = append(vals, *first), nil
		} else {
			for p.isSign("-") {
				ops = append(ops, pending{"negate", p.advance().at})
				if len(ops) > maxDepth {
					fail(p.peek().at, "more than %d operators wait for their right side", maxDepth)
				}
			}
			vals = append(vals, p.operand())
		}
		t := p.peek()
		prec, more := precedence[t.text]
		more = more && t.kind == sign
		// A number beside an operator takes its register before the rest is parsed,
		// as it does in the computation.
		if last := &vals[len(vals)-1]; more || len(ops) > 0 {
			*last = piece{form: computed, arith: p.asArith(*last), at: last.at}
		}
		for n := len(ops); n > 0; n = len(ops) {
			top := precedence[ops[n-1].text]
			if more && (top == 0 || prec == 0 || prec > top) {
				break
			}
			vals = p.reduce(vals, ops[n-1])
			ops = ops[:n-1]
		}
		if !more {
			return vals[0]
		}
		p.advance()
		ops = append(ops, pending{t.text, t.at})
	}
}

// reduce applies an operator to the last values.
func (p *parser) reduce(vals []piece, op pending) []piece {
	n := len(vals)
	p.gen.at = op.at
	if op.text == "negate" {
		// As a product, for 0 - x would keep a 0 for each sign of - - - x.
		x := vals[n-1].arith
		vals[n-1] = piece{form: computed, arith: &arith{value: compute(mul, x.value, constant(0xffffffff)), when: x.when}, at: op.at}
		return vals
	}
	x, y := vals[n-2].arith, vals[n-1].arith
	vals[n-2] = piece{form: computed, arith: p.gen.binary(x, op.text, y), at: vals[n-2].at}
	return vals[:n-1]
}

// asArith converts a number to arithmetic.
func (p *parser) asArith(e piece) *arith {
	if e.form == plain {
		p.gen.allocate()
		return &arith{value: constant(e.number)}
	}
	return e.arith
}

// operand parses a number, len, proto[index], proto[index:size], or arithmetic in
// parentheses.
func (p *parser) operand() piece {
	p.enter()
	defer p.leave()
	t := p.peek()
	switch {
	case t.kind == number:
		p.advance()
		return piece{form: plain, number: t.value, at: t.at}
	case p.isKeyword("len"):
		p.advance()
		p.gen.allocate()
		return piece{form: computed, arith: &arith{value: &value{op: wireLen}}, at: t.at}
	case p.accept("("):
		e := p.arithmetic(nil)
		p.expect(")")
		e.at = t.at
		return e
	case t.kind == keyword && isProto(t.text):
		p.advance()
		p.expect("[")
		index := p.asArith(p.arithmetic(nil))
		size := uint32(1)
		if p.accept(":") {
			n := p.peek()
			if n.kind != number {
				p.unexpected(n, "a size of 1, 2 or 4 bytes")
			}
			size = p.advance().value
		}
		p.expect("]")
		p.gen.at = t.at
		return piece{form: computed, arith: p.gen.load(t.text, index, size), at: t.at}
	}
	p.unexpected(t, "a number, len or bytes of a header, such as ip[6:2]")
	return piece{}
}

// allocate and release count the registers that libpcap would use.
func (g *generator) allocate() {
	if g.registers++; g.registers > maxRegisters {
		fail(g.at, "more than %d intermediate results: compute in smaller steps", maxRegisters)
	}
}

func (g *generator) release() { g.registers-- }

// binary is x op y.
func (g *generator) binary(x *arith, op string, y *arith) *arith {
	o := signs[op]
	// A divisor of 0 is refused also if it comes out of a computation, as libpcap's
	// optimizer does.
	if y.value.op == konst {
		switch {
		case y.value.k == 0 && (o == div || o == mod):
			fail(g.at, "division by zero")
		case y.value.k > 31 && (o == shl || o == shr):
			fail(g.at, "a shift by more than 31 bits")
		}
	}
	g.release()
	// The condition of y is lost, as in libpcap: ip[0] + tcp[0] tests for IP only.
	return &arith{value: compute(o, x.value, y.value), when: x.when}
}

// load is size bytes of a header, at an index into it.
func (g *generator) load(proto string, index *arith, size uint32) *arith {
	g.allocate()
	g.release()
	if size != 1 && size != 2 && size != 4 {
		fail(g.at, "%d bytes of a header: a number has 1, 2 or 4", size)
	}
	out := &arith{when: index.when}
	n := uint8(size)
	switch proto {
	case "link":
		out.value = atIndex(g.linkHeader, index.value, n)
		if g.raw {
			out.when = all(index.when, never())
		}
	case "ip", "arp", "rarp", "atalk", "decnet", "sca", "lat", "moprc", "mopdl", "ip6":
		out.value = atIndex(g.network(0), index.value, n)
		out.when = all(index.when, g.proto(proto))
	case "sctp", "tcp", "udp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp":
		header := headerLength(g.network(0))
		out.value = atIndex(g.network(0), compute(add, index.value, header), n)
		out.when = all(g.proto("ip"), index.when, g.proto(proto), g.firstFragment())
	case "icmp6":
		out.when = all(index.when, g.proto("ip6"), compare(at(g.network(6), 1), equal, constant(ether.ProtoICMPv6)))
		out.value = atIndex(g.network(40), index.value, n)
	default:
		fail(g.at, "bytes of %s cannot be addressed: use ether[], ip[], ip6[], tcp[] and the like", proto)
	}
	return out
}

// relation compares x and y.
func (g *generator) relation(x *arith, op string, y *arith) *cond {
	var c *cond
	switch op {
	case "=":
		c = compare(x.value, equal, y.value)
	case "!=":
		c = not(compare(x.value, equal, y.value))
	case ">":
		c = compare(x.value, greater, y.value)
	case "<=":
		c = not(compare(x.value, greater, y.value))
	case ">=":
		c = compare(x.value, atLeast, y.value)
	default:
		c = not(compare(x.value, atLeast, y.value))
	}
	g.release()
	g.release()
	return all(x.when, y.when, c)
}

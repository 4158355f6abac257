package pcapfilter

import (
	"fmt"
	"strings"
)

// maxDepth is how deep parentheses and negations can nest.
const maxDepth = 1000

// qualifiers define what an address or a number is: ip src host, tcp port. The zero
// value is no qualifier. undefined: none can be inherited, because the condition
// before a bare value has no qualifiers.
type qualifiers struct {
	proto     string // keyword of a protocol or ""
	dir       string // "", src, dst, or, and
	kind      string // "", host, net, port, portrange, proto
	undefined bool
}

// form is the kind of a piece of an expression.
type form uint8

const (
	condition  form = iota // a primitive or an expression in parentheses
	identifier             // a bare value that inherits qualifiers
	plain                  // a number, perhaps in parentheses, that may become either
	computed               // arithmetic whose comparison follows
)

// piece is a parsed piece of an expression. A bare value behind "and" or "or"
// inherits q.
type piece struct {
	form   form
	parens bool // identifier: in parentheses
	q      qualifiers
	cond   *cond
	number uint32
	arith  *arith
	at     int
}

// parser of an expression. The grammar is libpcap's, which is LALR(1) with
// conflicts; rules that seem odd follow from that grammar:
//
//	expr  = term { ("and"|"or") ( term | id ) }      both bind alike, left to right
//	term  = [ "not" ] ( head id | "(" expr ")" | proto | relation | other )
//	head  = [proto] dir [type] | [proto] type         of which id is the value
//	id    = value | "not" id | "(" value { ("and"|"or") id } ")"
//
// An error is a panic with an *Error, which parse returns.
type parser struct {
	source string
	tokens []token
	next   int
	depth  int
	inside bool // of "inner (EXPR)"
	gen    generator
}

// parse returns the condition, nil for the empty expression.
func parse(text string) (root *cond, err error) {
	tokens, err := scan(text)
	if err != nil {
		return nil, err
	}
	p := &parser{source: text, tokens: tokens, gen: newGenerator()}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *Error:
			root, err = nil, r
		default:
			panic(r)
		}
	}()
	if p.peek().kind == atEnd {
		return nil, nil
	}
	out := p.expr(p.element(qualifiers{undefined: true}, false))
	switch t := p.peek(); t.kind {
	case atEnd:
		p.gen.certain(out.cond, 0)
		return out.cond, nil
	case number, name, ipv4, ipv6, mac:
		fail(t.at, "%s where \"and\", \"or\" or the end is expected: a value has host, net, port or proto before it", t)
	default:
		if t.text == "/" {
			fail(t.at, "a length where none is possible: behind an address of 2 to 4 bytes or of IPv6, as in net 10.0/8")
		}
		p.unexpected(t, "\"and\", \"or\" or the end")
	}
	return nil, nil
}

func (p *parser) peek() token { return p.tokens[p.next] }

// ahead is the token n places after the next one.
func (p *parser) ahead(n int) token { return p.tokens[min(p.next+n, len(p.tokens)-1)] }

func (p *parser) advance() token {
	t := p.tokens[p.next]
	if t.kind != atEnd {
		p.next++
	}
	p.gen.at = t.at
	return t
}

// text is the expression from a token up to another, which is not part of it.
func (p *parser) text(from, to token) string { return strings.TrimSpace(p.source[from.at:to.at]) }

func (p *parser) isSign(text string) bool {
	t := p.peek()
	return t.kind == sign && t.text == text
}

func (p *parser) isKeyword(text string) bool {
	t := p.peek()
	return t.kind == keyword && t.text == text
}

// accept consumes the next token if it is the sign.
func (p *parser) accept(text string) bool {
	if !p.isSign(text) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		p.unexpected(p.peek(), fmt.Sprintf("%q", text))
	}
}

func (p *parser) unexpected(t token, want string) {
	fail(t.at, "%s where %s is expected", t, want)
}

// fail ends parsing.
func fail(at int, format string, args ...any) {
	panic(&Error{at, fmt.Sprintf(format, args...)})
}

// enter counts a level of nesting; leave ends it.
func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		fail(p.peek().at, "more than %d levels of parentheses and negations", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

// expr parses the rest of an expression behind its first element.
func (p *parser) expr(left piece) piece {
	for {
		op := p.peek()
		if !p.isJoin() {
			left.form = condition
			return left
		}
		p.advance()
		right := p.element(left.q, true)
		left = piece{q: right.q, cond: join(op.text, left.cond, right.cond)}
	}
}

func join(op string, x, y *cond) *cond {
	if op == "and" {
		return all(x, y)
	}
	return anyOf(x, y)
}

// element parses one operand of "and" and "or": a condition, or, where bare is
// true, a value that inherits q.
func (p *parser) element(q qualifiers, bare bool) piece {
	return p.resolve(p.open(q, bare), q, bare)
}

// resolve converts a number or arithmetic to a condition, by the comparison that
// follows, or to an identifier, by the qualifiers q.
func (p *parser) resolve(e piece, q qualifiers, bare bool) piece {
	if e.form != plain && e.form != computed {
		return e
	}
	if t := p.peek(); t.kind == sign {
		switch t.text {
		case "=", ">", ">=", "!=", "<", "<=":
			p.advance()
			left := p.asArith(e)
			right := p.asArith(p.arithmetic(nil))
			c := p.gen.relation(left, t.text, right)
			return piece{form: condition, q: qualifiers{undefined: true}, cond: c}
		}
	}
	if e.form == plain && bare {
		return piece{form: identifier, q: q, cond: p.gen.numberID(e.number, q, e.at)}
	}
	if e.form == plain && p.isSign("/") {
		fail(e.at, "a network as a number has no length: write its first two bytes, as in net 10.0/8")
	}
	if e.form == plain {
		fail(e.at, "a number alone: say what it is, as in port %d, or compare it", e.number)
	}
	p.unexpected(p.peek(), "a comparison (=, !=, <, <=, >, >=)")
	return e
}

// open is element without resolve: numbers and arithmetic stay as they are.
func (p *parser) open(q qualifiers, bare bool) piece {
	p.enter()
	defer p.leave()
	t := p.peek()
	switch t.kind {
	case sign:
		switch t.text {
		case "!":
			p.advance()
			e := p.element(q, bare)
			e.cond, e.parens = not(e.cond), false
			return e
		case "(":
			e := p.parens(q, bare)
			if e.form == plain || e.form == computed {
				return p.arithmetic(&e)
			}
			return e
		case "-":
			return p.arithmetic(nil)
		}
	case number:
		return p.arithmetic(nil)
	case keyword:
		if t.text == "len" || isProto(t.text) && p.ahead(1).kind == sign && p.ahead(1).text == "[" {
			return p.arithmetic(nil)
		}
		return p.primitive()
	case name, ipv4, ipv6, mac, malformed:
		if bare {
			return piece{form: identifier, q: q, cond: p.value(q)}
		}
		if t.kind == name {
			fail(t.at, "%s where a condition is expected, such as host, net, port or tcp", t)
		}
		fail(t.at, "an address alone: write host %s", t.text)
	}
	p.unexpected(t, "a condition, such as host, net, port or tcp")
	return piece{}
}

// parens parses "(" to ")".
func (p *parser) parens(q qualifiers, bare bool) piece {
	start := p.advance()
	e := p.open(q, bare)
	if e.form == plain || e.form == computed {
		if p.accept(")") {
			e.at = start.at
			return e
		}
		e = p.resolve(e, q, bare)
	}
	if e.form == identifier {
		if e.parens {
			p.unexpected(p.peek(), "a list of values without parentheses around its first ones")
		}
		return p.list(q, e)
	}
	e = p.expr(e)
	p.expect(")")
	return piece{form: condition, q: q, cond: e.cond}
}

// list parses the rest behind the first value of "(" value and value ... ")".
func (p *parser) list(q qualifiers, first piece) piece {
	c := first.cond
	for p.isJoin() {
		op := p.advance().text
		c = join(op, c, p.id(q))
	}
	p.expect(")")
	return piece{form: identifier, parens: true, q: q, cond: c}
}

// id parses the value of a primitive, or several in parentheses.
func (p *parser) id(q qualifiers) *cond {
	p.enter()
	defer p.leave()
	t := p.peek()
	switch {
	case t.kind == number:
		p.advance()
		return p.gen.numberID(t.value, q, t.at)
	case p.accept("!"):
		return not(p.id(q))
	case p.isSign("("):
		if n, ok := p.parensNumber(); ok {
			return p.gen.numberID(n, q, t.at)
		}
		p.advance()
		first := piece{form: identifier, q: q}
		if n, ok := p.parensNumber(); ok {
			first.cond = p.gen.numberID(n, q, t.at)
		} else if p.isSign("(") {
			p.unexpected(p.peek(), "a value: parentheses open a list once")
		} else {
			first.cond = p.id(q)
		}
		return p.list(q, first).cond
	default:
		return p.value(q)
	}
}

// parensNumber consumes a number and the parentheses around it, if there is one.
func (p *parser) parensNumber() (uint32, bool) {
	open := 0
	for p.ahead(open).kind == sign && p.ahead(open).text == "(" {
		open++
	}
	n := p.ahead(open)
	if n.kind != number {
		return 0, false
	}
	for i := 1; i <= open; i++ {
		if t := p.ahead(open + i); t.kind != sign || t.text != ")" {
			return 0, false
		}
	}
	p.next += 2*open + 1
	p.gen.at = n.at
	return n.value, true
}

// optionalNumber is the number behind vlan, mpls and pppoes, if there is one.
func (p *parser) optionalNumber() (uint32, bool) {
	t := p.peek()
	if t.kind != number && !p.isSign("(") {
		return 0, false
	}
	n, ok := p.parensNumber()
	if !ok {
		p.unexpected(t, "a number, or \"and\" or \"or\"")
	}
	return n, true
}

// needNumber is the number behind less, greater and byte.
func (p *parser) needNumber(word string) uint32 {
	t := p.peek()
	if t.kind != number {
		p.unexpected(t, "the number of "+word)
	}
	return p.advance().value
}

// value parses an address or a name; numbers have been dealt with.
func (p *parser) value(q qualifiers) *cond {
	t := p.peek()
	switch t.kind {
	case name:
		p.advance()
		return p.gen.nameID(t.text, q)
	case ipv4:
		p.advance()
		if p.accept("/") {
			n := p.peek()
			if n.kind != number {
				p.unexpected(n, "a length of 0 to 32 bits")
			}
			p.advance()
			return p.gen.net4(t.text, "", n.value, q, t.at)
		}
		if p.isKeyword("mask") {
			p.advance()
			m := p.peek()
			if m.kind != ipv4 {
				p.unexpected(m, "a mask, such as 255.255.0.0")
			}
			p.advance()
			return p.gen.net4(t.text, m.text, 0, q, t.at)
		}
		return p.gen.host4(t.text, q, t.at)
	case ipv6:
		p.advance()
		length := uint32(128)
		if p.accept("/") {
			n := p.peek()
			if n.kind != number {
				p.unexpected(n, "a length of 0 to 128 bits")
			}
			length = p.advance().value
		}
		return p.gen.net6(t.text, length, q, t.at)
	case mac:
		p.advance()
		return p.gen.macID(t.text, q, t.at)
	case malformed:
		fail(t.at, "%s is no address", t)
	case keyword:
		fail(t.at, "%s is a word of the language where an address, a number or a name is expected: as a name, write \\%s", t, t.text)
	}
	p.unexpected(t, "an address, a number or a name")
	return nil
}

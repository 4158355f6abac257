package pcapfilter

// comparison of two values, of numbers without sign.
type comparison uint8

const (
	equal comparison = iota
	greater
	atLeast
)

func (c comparison) holds(x, y uint32) bool {
	switch c {
	case equal:
		return x == y
	case greater:
		return x > y
	default:
		return x >= y
	}
}

// cond is a condition on a frame: a comparison, or a combination of others, which
// are evaluated from left to right as far as needed. The order is part of the
// meaning, because an evaluation can fail.
type cond struct {
	op   condOp
	x, y *cond

	left, right *value // test
	cmp         comparison

	// For an index; see needs.go.
	term  *Term     // only: what a frame that meets the condition must have
	under uint64    // the shifts that the term stands behind, bit n for shift n
	holds [2]uint64 // the shifts that hold if the condition is false, and if it is true
}

type condOp uint8

const (
	test condOp = iota
	both
	either
	negated
	only // x
)

func compare(left *value, cmp comparison, right *value) *cond {
	return &cond{op: test, left: left, cmp: cmp, right: right}
}

// all is the conjunction of conditions in the order of evaluation; nil is left out.
func all(c ...*cond) *cond { return fold(both, c) }

// anyOf is the disjunction of conditions in the order of evaluation.
func anyOf(c ...*cond) *cond { return fold(either, c) }

func fold(op condOp, c []*cond) *cond {
	var out *cond
	for _, x := range c {
		if x == nil {
			continue
		}
		if out == nil {
			out = x
			continue
		}
		y := &cond{op: op, x: out, y: x}
		for sense, h := range out.holds {
			if certain := (op == both) == (sense == 1); certain {
				y.holds[sense] = h | x.holds[sense]
			} else {
				y.holds[sense] = h & x.holds[sense]
			}
		}
		out = y
	}
	return out
}

func not(c *cond) *cond {
	return &cond{op: negated, x: c, holds: [2]uint64{c.holds[1], c.holds[0]}}
}

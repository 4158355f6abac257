package pcapfilter

// node is a test with its two successors, or a leaf. The nodes of a program form a
// graph without cycles. A filter has the leaves accept and reject; a classifier has
// one for each filter and one for frames that none of them matches.
type node struct {
	left, right *value // nil: a leaf
	cmp         comparison
	yes, no     *node
	reload      bool // left is not what the test before has loaded
	filter      int  // that the test is part of

	// The optimizer's: the node's number, from 1, greater than those of its successors;
	// the ids of its values, and of the one that it loads; the values that it or a
	// later node reads.
	number           int
	leftID, loadedID int
	reads            set
}

var accept, reject = &node{}, &node{}

func (n *node) final() bool { return n.left == nil }

// lower turns a condition into a graph; nil is met by all frames.
func lower(c *cond) *node { return lowerTo(c, accept, reject, 0) }

// lowerTo turns the condition of a filter into a graph with the leaves yes and no.
func lowerTo(c *cond, yes, no *node, filter int) *node {
	if c == nil {
		return yes
	}
	return c.lower(yes, no, filter)
}

func (c *cond) lower(yes, no *node, filter int) *node {
	switch c.op {
	case both:
		return c.x.lower(c.y.lower(yes, no, filter), no, filter)
	case either:
		return c.x.lower(yes, c.y.lower(yes, no, filter), filter)
	case negated:
		return c.x.lower(no, yes, filter)
	case only:
		return c.x.lower(yes, no, filter)
	}
	if c.left.op == konst && c.right.op == konst {
		if c.cmp.holds(c.left.k, c.right.k) {
			return yes
		}
		return no
	}
	left, cmp, right := c.left, c.cmp, c.right
	if left.op == konst { // on the right it is cheaper
		left, right = right, left
		if cmp != equal { // k > x is not x >= k
			cmp, yes, no = greater+atLeast-cmp, no, yes
		}
	}
	return &node{left: left, right: right, cmp: cmp, yes: yes, no: no, reload: true, filter: filter}
}

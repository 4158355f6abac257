package pcapfilter

// node is a test and where to go on with either outcome. The nodes of a filter
// form a graph without cycles that ends in accept and reject.
type node struct {
	left, right *value
	cmp         comparison
	yes, no     *node
	reload      bool // left is not what the test before has loaded
}

var accept, reject = &node{}, &node{}

func (n *node) final() bool { return n == accept || n == reject }

// lower turns a condition into a graph; nil is met by all frames.
func lower(c *cond) *node {
	if c == nil {
		return accept
	}
	return c.lower(accept, reject)
}

func (c *cond) lower(yes, no *node) *node {
	switch c.op {
	case both:
		return c.x.lower(c.y.lower(yes, no), no)
	case either:
		return c.x.lower(yes, c.y.lower(yes, no))
	case negated:
		return c.x.lower(no, yes)
	case only:
		return c.x.lower(yes, no)
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
	return &node{left: left, right: right, cmp: cmp, yes: yes, no: no, reload: true}
}

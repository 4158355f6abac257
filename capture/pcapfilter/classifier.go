package pcapfilter

import "errors"

// maxFilters is how many filters a classifier can have.
const maxFilters = 1 << 16

// Classifier finds the first of several filters that matches a frame, with one
// program that makes no test twice:
//
//	filter 0 ─ no ─▶ filter 1 ─ no ─▶ ... ─ no ─▶ class n: none matches
//	   └─ yes ─▶ class 0 └─ yes ─▶ class 1
//
// A load beyond the end of a frame ends one filter: the frame does not match it, and
// the next filters are tested. A classifier is immutable and safe for concurrent use.
type Classifier struct {
	program
	filters []*Filter
	batch   []batchStep // the program for batches
	places  []place     // by column
}

// NewClassifier makes a classifier of filters. The first that matches decides.
func NewClassifier(filters []*Filter) (*Classifier, error) {
	if len(filters) > maxFilters {
		return nil, errors.New("pcapfilter: a classifier has at most 65536 filters")
	}
	root, leaves := lowerList(filters)
	graph := optimizeList(root, leaves[len(filters)], len(filters)-1)
	c := &Classifier{program: assemble(graph, leaves...), filters: filters}
	c.prepare()
	return c, nil
}

// lowerList turns the conditions of filters into a graph with a leaf for each filter
// and one for frames that none matches.
func lowerList(filters []*Filter) (root *node, leaves []*node) {
	leaves = make([]*node, len(filters)+1)
	for i := range leaves {
		leaves[i] = &node{}
	}
	root = leaves[len(filters)]
	for i := len(filters) - 1; i >= 0; i-- {
		root = lowerTo(filters[i].root, leaves[i], root, i)
	}
	return root, leaves
}

// Len is the number of filters.
func (c *Classifier) Len() int { return len(c.filters) }

// Reach is how many bytes from the start of a frame the filters can read. It can be
// more than a frame has.
func (c *Classifier) Reach() int { return int(min(c.reach, 1<<30)) }

// First returns the index of the first filter that matches a frame, Len if none
// does. data and wireLen are those of Filter.Match.
func (c *Classifier) First(data []byte, wireLen int) int {
	at := c.run(data, wireLen)
	if at < 0 {
		return int(^at)
	}
	n := int(c.code[at].filter) + 1
	for n < len(c.filters) && !c.filters[n].Match(data, wireLen) {
		n++
	}
	return n
}

package pcapfilter

// program is a graph in the form that run and Classify execute.
type program struct {
	code  []step
	calcs []calc // the computations of steps
	start int32
	reach uint64 // bytes from the start of a frame that steps can read
}

// assemble makes the steps of a graph. The result of leaf i is ^i.
func assemble(graph *node, leaves ...*node) program {
	index := map[*node]int32{}
	for i, leaf := range leaves {
		index[leaf] = ^int32(i)
	}
	var p program
	p.start = p.emit(graph, index)
	return p
}

// emit appends the steps from n on, once each, and returns the index of n's. The
// successors of a step stand before it: paths run from the end to the start.
func (p *program) emit(n *node, index map[*node]int32) int32 {
	if at, ok := index[n]; ok {
		return at
	}
	s := step{yes: p.emit(n.yes, index), no: p.emit(n.no, index), filter: uint16(n.filter)}
	p.reach = max(p.reach, reachOf(n.left), reachOf(n.right))
	p.source(&s, n)
	p.code = append(p.code, s)
	at := int32(len(p.code) - 1)
	index[n] = at
	return at
}

// source sets the source and the range of a step.
func (p *program) source(s *step, n *node) {
	s.mask = 0xffffffff
	if n.right.op != konst {
		first := len(p.calcs)
		p.compute(n.left)
		p.compute(n.right)
		p.calcs = append(p.calcs, calc{op: isEqual + calcOp(n.cmp)})
		s.src, s.base, s.off, s.lo = evaluated, uint32(first), uint32(len(p.calcs)), 1
		return
	}
	switch k := n.right.k; {
	case n.cmp == equal:
		s.lo = k
	case n.cmp == greater && k == 0xffffffff: // of no number
		s.yes = s.no
	case n.cmp == greater:
		s.lo, s.span = k+1, 0xffffffff-k-1
	default:
		s.lo, s.span = k, 0xffffffff-k
	}
	v := loaded(n)
	if v != n.left {
		s.mask = n.left.y.k
	}
	switch {
	case !n.reload:
		s.src = previous
	case v.op == load && v.x == nil:
		s.src, s.off = byte1+source(v.size/2), v.off
	case v.op == load && v.x.op == headerLen:
		s.src, s.off, s.base = ipByte1+source(v.size/2), v.off, v.x.off
	case v.op == wireLen:
		s.src = frameLen
	default:
		first := len(p.calcs)
		p.compute(v)
		s.src, s.base, s.off = evaluated, uint32(first), uint32(len(p.calcs))
	}
}

// compute appends the computation of a value.
func (p *program) compute(v *value) {
	c := calc{op: calcOp(v.op), size: v.size, k: v.off}
	switch v.op {
	case konst:
		c.op, c.k = push, v.k
	case wireLen:
		c.op = pushLen
	case headerLen:
		c.op = pushHeader
	case load:
		c.op = loadAt
		if v.x != nil {
			p.compute(v.x)
			c.op = loadPlus
		}
	default:
		p.compute(v.x)
		p.compute(v.y)
	}
	p.calcs = append(p.calcs, c)
}

// reachOf is how many bytes from the start of a frame a value can read.
func reachOf(v *value) uint64 {
	switch {
	case v == nil:
		return 0
	case v.op == headerLen:
		return uint64(v.off) + 1
	case v.op == load && v.x == nil:
		return uint64(v.off) + uint64(v.size)
	case v.op == load && v.x.op == headerLen:
		return max(reachOf(v.x), uint64(v.off)+60+uint64(v.size))
	case v.op == load:
		return 1 << 32
	}
	return max(reachOf(v.x), reachOf(v.y))
}

package pcapfilter

// assemble makes steps of a graph.
func (f *Filter) assemble(graph *node) {
	f.start = f.emit(graph, map[*node]int32{accept: accepted, reject: rejected})
}

// emit appends the steps from n on, unless they are there, and returns n's. A step
// is behind those it goes on with, so that paths run from the end to the start.
func (f *Filter) emit(n *node, index map[*node]int32) int32 {
	if at, ok := index[n]; ok {
		return at
	}
	s := step{yes: f.emit(n.yes, index), no: f.emit(n.no, index)}
	f.source(&s, n)
	f.code = append(f.code, s)
	at := int32(len(f.code) - 1)
	index[n] = at
	return at
}

// source fills in what a step compares and with what.
func (f *Filter) source(s *step, n *node) {
	s.mask = 0xffffffff
	if n.right.op != konst {
		first := len(f.calcs)
		f.compute(n.left)
		f.compute(n.right)
		f.calcs = append(f.calcs, calc{op: isEqual + calcOp(n.cmp)})
		s.src, s.base, s.off, s.lo = evaluated, uint32(first), uint32(len(f.calcs)), 1
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
		s.src = held
	case v.op == load && v.x == nil:
		s.src, s.off = byte1+source(v.size/2), v.off
	case v.op == load && v.x.op == headerLen:
		s.src, s.off, s.base = ipByte1+source(v.size/2), v.off, v.x.off
	case v.op == wireLen:
		s.src = frameLen
	default:
		first := len(f.calcs)
		f.compute(v)
		s.src, s.base, s.off = evaluated, uint32(first), uint32(len(f.calcs))
	}
}

// compute appends the computation of a value.
func (f *Filter) compute(v *value) {
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
			f.compute(v.x)
			c.op = loadPlus
		}
	default:
		f.compute(v.x)
		f.compute(v.y)
	}
	f.calcs = append(f.calcs, c)
}

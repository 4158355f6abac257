package pcapfilter

import "math/bits"

// program is a graph in the form that run and Classify execute.
type program struct {
	code   []step
	calcs  []calc // the computations of steps
	inners []*inner
	start  int32
	reach  uint64 // bytes from the start of a frame that steps can read
	depth  int    // results that computations have at a time
}

// assembler makes a program.
type assembler struct {
	program
	index map[*node]int32 // of steps
	spans map[*value]span // of computations
}

// span is a part of calcs.
type span struct{ first, end uint32 }

// assemble makes the steps of a graph. The result of leaf i is ^i.
func assemble(graph *node, leaves ...*node) program {
	p := assembler{index: map[*node]int32{}, spans: map[*value]span{}}
	for i, leaf := range leaves {
		p.index[leaf] = ^int32(i)
	}
	p.start = p.emit(graph)
	return p.program
}

// emit appends the steps from n on, once each, and returns the index of n's. The
// successors of a step stand before it: paths run from the end to the start.
func (p *assembler) emit(n *node) int32 {
	if at, ok := p.index[n]; ok {
		return at
	}
	s := step{yes: p.emit(n.yes), no: p.emit(n.no), filter: uint16(n.filter)}
	p.depth = max(p.depth, depthOf(n.left), 1+depthOf(n.right))
	p.reach = max(p.reach, reachOf(n.left), reachOf(n.right))
	p.source(&s, n)
	p.code = append(p.code, s)
	at := int32(len(p.code) - 1)
	p.index[n] = at
	return at
}

// depthOf is how many results the computation of a value has at a time.
func depthOf(v *value) int {
	if v == nil {
		return 0
	}
	if v.op == inside {
		return v.inner.depth()
	}
	return max(1, depthOf(v.x), min(depthOf(v.y), 1)+depthOf(v.y))
}

// source sets the source and the range of a step.
func (p *assembler) source(s *step, n *node) {
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
	case v.op == load && v.x.op == headerLen && v.x.x == nil:
		s.src, s.off, s.base = ipByte1+source(v.size/2), v.off, v.x.off
	case v.op == wireLen:
		s.src = frameLen
	default:
		at, ok := p.spans[v]
		if !ok {
			at.first = uint32(len(p.calcs))
			p.compute(v)
			at.end = uint32(len(p.calcs))
			p.spans[v] = at
		}
		s.src, s.base, s.off = evaluated, at.first, at.end
	}
}

// compute appends the computation of a value.
func (p *assembler) compute(v *value) {
	c := calc{op: calcOp(v.op), size: v.size, k: v.off}
	switch v.op {
	case konst:
		c.op, c.k = push, v.k
	case wireLen:
		c.op = pushLen
	case inside:
		c.op, c.k = pushInside, uint32(len(p.inners))
		p.inners = append(p.inners, v.inner)
	case inChain:
		c.op, c.size = chain4, uint8(v.k)
		if v.size == 6 {
			c.op = chain6
		}
	case headerLen:
		c.op = headerAt
		if v.x != nil {
			p.compute(v.x)
			c.op = headerPlus
		}
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
		return max(reachOf(v.x), uint64(v.off)+most(v.x)+1)
	case v.op == inside:
		return v.inner.reach()
	case v.op == inChain:
		return uint64(v.off) + 60 + maxChain*(256*8)
	case v.op == load:
		return max(reachOf(v.x), uint64(v.off)+most(v.x)+uint64(v.size))
	}
	return max(reachOf(v.x), reachOf(v.y))
}

// most is a number that a value is never greater than, 0 for nil.
func most(v *value) uint64 {
	const all = 1<<32 - 1
	if v == nil {
		return 0
	}
	switch v.op {
	case konst:
		return uint64(v.k)
	case load:
		return all >> (32 - 8*v.size)
	case headerLen:
		return 60
	case inChain, inside:
		return 1
	case add:
		return min(most(v.x)+most(v.y), all)
	case mul:
		return min(most(v.x)*most(v.y), all)
	case and:
		return min(most(v.x), most(v.y))
	case xor:
		return 1<<bits.Len64(most(v.x)|most(v.y)) - 1
	case shr:
		if v.y.op == konst {
			return most(v.x) >> v.y.k
		}
	}
	return all
}

package pcapfilter

import (
	"encoding/binary"
	"math"
	"slices"
)

const (
	// maxValues is the most different values of a filter that is optimized,
	// maxExcluded the most numbers remembered that a value does not have.
	maxValues   = 1024
	maxExcluded = 8
	maxNodes    = 1 << 16 // made of a graph that has fewer
	maxSteps    = 1 << 20 // that any graph may take
)

// optimize returns a graph with the same outcome for every frame, also for frames
// that are cut, in which no path repeats a test whose outcome is known. It makes a
// node for each different knowledge that the original is reached with, as long as
// the graph grows no more than a few times.
//
// A test is left out only if its loads have been made before on the same path: a
// load that can fail is part of the meaning.
func optimize(root *node) *node {
	return newOptimizer(reject, 0).run(root)
}

// optimizeList is optimize for a list of filters, of which each continues with the
// next: where a test fails, too. none is the leaf behind the last filter.
func optimizeList(root, none *node, last int) *node {
	o := newOptimizer(none, last)
	o.reload = true
	return o.run(root)
}

func newOptimizer(none *node, last int) *optimizer {
	return &optimizer{
		none: none, last: last,
		ids:   map[identity]int{},
		known: map[*value]int{},
		memo:  map[string]*node{},
		made:  map[nodeKey]*node{},
	}
}

func (o *optimizer) run(root *node) *node {
	o.number(root)
	if o.values > maxValues {
		return root
	}
	o.budget = min(1000+8*len(o.nodes), max(maxNodes, len(o.nodes)))
	o.steps = maxSteps + 64*len(o.nodes)
	o.uses()
	return o.specialize(root, knowledge{})
}

// identity of a value: two with the same are equal in every frame.
type identity struct {
	op   valueOp
	size uint8
	off  uint32
	k    uint32
	in   *inner
	x, y int
}

// nodeKey identifies a node of the new graph, which has no node twice.
type nodeKey struct {
	filter      int
	left, right int // right is 0 for the number k
	k           uint32
	cmp         comparison
	yes, no     *node
	reload      bool
}

type optimizer struct {
	none   *node            // where a failed test of the last filter leads
	last   int              // index of the last filter
	reload bool             // each test loads its value, even if the test before has
	ids    map[identity]int // of values, from 1
	known  map[*value]int   // the same
	values int              // how many there are
	nodes  []*node          // the old graph's, by number - 1
	memo   map[string]*node
	made   map[nodeKey]*node
	budget int // nodes that may still be made
	steps  int // nodes that may still be passed
	buf    []byte

	// The last node, by number, that compares a value with a number for equality, and
	// the last that uses it in another way. Paths lead from greater numbers to smaller
	// ones.
	equals []map[uint32]int // by id
	other  []int            // by id; noNode if there is none
}

const noNode = math.MaxInt

// set of value ids.
type set []uint64

func (s set) has(id int) bool { return id/64 < len(s) && s[id/64]>>(id%64)&1 != 0 }

// with returns the set with one more; s stays as it is.
func (s set) with(id int) set {
	if s.has(id) {
		return s
	}
	out := make(set, max(len(s), id/64+1))
	copy(out, s)
	out[id/64] |= 1 << (id % 64)
	return out
}

func (s set) union(t set) set {
	if len(s) < len(t) {
		s, t = t, s
	}
	for i, w := range t {
		if w&^s[i] != 0 {
			out := slices.Clone(s)
			for i, w := range t {
				out[i] |= w
			}
			return out
		}
	}
	return s
}

// id numbers a value; nil is 0.
func (o *optimizer) id(v *value) int {
	if v == nil {
		return 0
	}
	if n, ok := o.known[v]; ok {
		return n
	}
	key := identity{v.op, v.size, v.off, v.k, v.inner, o.id(v.x), o.id(v.y)}
	n, ok := o.ids[key]
	if !ok {
		o.values++
		n = o.values
		o.ids[key] = n
	}
	o.known[v] = n
	return n
}

// number numbers nodes and values, and collects the values that a node and its
// successors read. Constants do not count.
func (o *optimizer) number(n *node) set {
	if n.final() || o.values > maxValues {
		return nil
	}
	if n.number > 0 {
		return n.reads
	}
	s := o.number(n.yes).union(o.number(n.no))
	s = o.add(o.add(s, n.left), n.right)
	o.nodes = append(o.nodes, n)
	n.number, n.reads = len(o.nodes), s
	n.leftID, n.loadedID = o.id(n.left), o.id(loaded(n))
	return s
}

func (o *optimizer) add(s set, v *value) set {
	if v == nil || v.op == konst || o.values > maxValues {
		return s
	}
	return o.add(o.add(s.with(o.id(v)), v.x), v.y)
}

// uses fills equals and other.
func (o *optimizer) uses() {
	o.equals, o.other = make([]map[uint32]int, o.values+1), make([]int, o.values+1)
	for id := range o.other {
		o.other[id] = noNode
	}
	var mark func(v *value, at int)
	mark = func(v *value, at int) {
		if v != nil && v.op != konst {
			id := o.id(v)
			o.other[id] = min(o.other[id], at)
			mark(v.x, at)
			mark(v.y, at)
		}
	}
	for _, n := range o.nodes {
		at := n.number
		mark(n.right, at)
		if n.cmp != equal || n.right.op != konst {
			mark(n.left, at)
			continue
		}
		mark(n.left.x, at)
		mark(n.left.y, at)
		id := n.leftID
		if o.equals[id] == nil {
			o.equals[id] = map[uint32]int{}
		}
		if last, ok := o.equals[id][n.right.k]; !ok || at < last {
			o.equals[id][n.right.k] = at
		}
	}
}

// tested reports whether a value is compared with a number from a node on.
func (o *optimizer) tested(id int, k uint32, from int) bool {
	at, ok := o.equals[id][k]
	return ok && at <= from
}

// relevant is a fact as far as it decides tests from a node on: a value is known, or
// is none of those that it is compared with, or does not matter.
func (o *optimizer) relevant(f fact, from int) fact {
	if o.other[f.id] <= from {
		return f
	}
	if f.lo == f.hi && !o.tested(f.id, f.lo, from) {
		return fact{id: f.id, lo: 1, hi: 0}
	}
	f.not = slices.DeleteFunc(slices.Clone(f.not), func(k uint32) bool { return !o.tested(f.id, k, from) })
	return f
}

// knowledge is what the tests of a path imply about a frame. It is immutable.
type knowledge struct {
	facts []fact // by id
	end   uint64 // the frame has at least so many bytes
	done  set    // values that have been computed, and so can be again
	last  int    // the value loaded last, or 0
}

// fact is what is known of a value: lo <= value <= hi, and none of not.
type fact struct {
	id     int
	lo, hi uint32
	not    []uint32
}

// about is the fact on a value; without one, the range of its operation.
func (k knowledge) about(id int, v *value) fact {
	i, ok := slices.BinarySearchFunc(k.facts, id, func(f fact, id int) int { return f.id - id })
	if ok {
		return k.facts[i]
	}
	f := fact{id: id, hi: 0xffffffff}
	switch {
	case v.op == konst:
		f.lo, f.hi = v.k, v.k
	case v.op == load:
		f.hi = 0xffffffff >> (32 - 8*v.size)
	case v.op == headerLen:
		f.hi = 60
	case v.op == inChain || v.op == inside:
		f.hi = 1
	case v.op == and && v.y.op == konst:
		f.hi = v.y.k
	}
	return f
}

// refine returns the knowledge with the outcome of left cmp c.
func (k knowledge) refine(id int, left *value, cmp comparison, c uint32, yes bool) knowledge {
	f := k.about(id, left)
	switch {
	case cmp == equal && yes:
		f.lo, f.hi, f.not = c, c, nil
	case cmp == equal:
		not := f.not
		if len(not) == maxExcluded {
			not = not[1:]
		}
		f.not = append(slices.Clone(not), c)
	case cmp == greater && yes:
		f.lo = max(f.lo, c+1) // c is not the greatest number: the outcome would be known
	case cmp == greater:
		f.hi = min(f.hi, c)
	case yes:
		f.lo = max(f.lo, c)
	default:
		f.hi = min(f.hi, c-1) // c is not 0: the outcome would be known
	}
	i, ok := slices.BinarySearchFunc(k.facts, id, func(f fact, id int) int { return f.id - id })
	behind := i
	if ok {
		behind++
	}
	facts := make([]fact, 0, len(k.facts)+1)
	k.facts = append(append(append(facts, k.facts[:i]...), f), k.facts[behind:]...)
	return k
}

// eval is a value, if it is known.
func (o *optimizer) eval(v *value, k knowledge) (uint32, bool) {
	if v.op == konst {
		return v.k, true
	}
	if f := k.about(o.id(v), v); f.lo == f.hi {
		return f.lo, true
	}
	if v.op < add {
		return 0, false
	}
	x, ok := o.eval(v.x, k)
	y, ok2 := o.eval(v.y, k)
	if !ok || !ok2 || y == 0 && (v.op == div || v.op == mod) {
		return 0, false
	}
	return arithmetic(v.op, x, y), true
}

// decide is the outcome of a test, if it is known.
func (o *optimizer) decide(n *node, k knowledge) (yes, known bool) {
	right, ok := o.eval(n.right, k)
	if !ok {
		return false, false
	}
	f := k.about(n.leftID, n.left)
	if f.lo == f.hi {
		return n.cmp.holds(f.lo, right), true
	}
	if n.left.op >= add {
		if left, ok := o.eval(n.left, k); ok {
			return n.cmp.holds(left, right), true
		}
	}
	switch n.cmp {
	case equal:
		return false, right < f.lo || right > f.hi || slices.Contains(f.not, right)
	case greater:
		return f.lo > right, f.lo > right || f.hi <= right
	default:
		return f.lo >= right, f.lo >= right || f.hi < right
	}
}

// safe reports whether the evaluation of a value cannot fail.
func (o *optimizer) safe(v *value, k knowledge) bool {
	switch v.op {
	case konst, wireLen, inside:
		return true
	case load:
		if v.x == nil && uint64(v.off)+uint64(v.size) <= k.end {
			return true
		}
		return k.done.has(o.id(v))
	case inChain:
		return k.done.has(o.id(v))
	case headerLen:
		return v.x == nil && uint64(v.off) < k.end || k.done.has(o.id(v))
	case div, mod:
		if y, ok := o.eval(v.y, k); (!ok || y == 0) && !k.done.has(o.id(v)) {
			return false
		}
	}
	return o.safe(v.x, k) && o.safe(v.y, k)
}

// computed returns the knowledge that a value has been computed.
func (o *optimizer) computed(v *value, k knowledge) knowledge {
	if v == nil || v.op == konst {
		return k
	}
	k = o.computed(v.y, o.computed(v.x, k))
	switch {
	case v.op == load && v.x == nil:
		k.end = max(k.end, uint64(v.off)+uint64(v.size))
	case v.op == headerLen && v.x == nil:
		k.end = max(k.end, uint64(v.off)+1)
	case v.op == load || v.op == headerLen || v.op == inChain || v.op == div || v.op == mod:
		k.done = k.done.with(o.id(v))
	}
	return k
}

// specialize returns the new graph from a node on, for frames of which k is known.
//
// On the way to the first test that is not decided it may pass many filters of a list.
// What is found behind is remembered for the first node of each, so that it is found
// once for all that lead there.
func (o *optimizer) specialize(n *node, k knowledge) *node {
	var passed []string // keys of the nodes passed
	out := func(n *node) *node {
		for _, key := range passed {
			o.memo[key] = n
		}
		return n
	}
	for !n.final() {
		yes, known := o.decide(n, k)
		if !known || !o.safe(n.left, k) || !o.safe(n.right, k) {
			break
		}
		if o.steps == 0 {
			return out(n)
		}
		o.steps--
		next := n.no
		if yes {
			next = n.yes
		}
		if !next.final() && next.filter != n.filter {
			key := o.key(next, &k)
			if known, ok := o.memo[key]; ok {
				return out(known)
			}
			passed = append(passed, key)
		}
		n = next
	}
	if n.final() {
		return out(n)
	}
	key := o.key(n, &k)
	if known, ok := o.memo[key]; ok {
		return out(known)
	}
	if o.budget == 0 {
		return out(n)
	}
	o.budget--
	passed = append(passed, key)
	return out(o.build(n, k))
}

// build makes the new node for an old one.
func (o *optimizer) build(n *node, k knowledge) *node {
	base := n.loadedID
	after := o.computed(n.right, o.computed(n.left, k))
	after.last = base
	if n.right.op != konst || o.reload {
		after.last = 0
	}
	branch := func(yes bool) *node {
		k := after
		if n.right.op == konst {
			k = k.refine(n.leftID, n.left, n.cmp, n.right.k, yes)
		}
		if yes {
			return o.specialize(n.yes, k)
		}
		return o.specialize(n.no, k)
	}
	m := nodeKey{filter: n.filter, left: n.leftID, cmp: n.cmp, reload: base != k.last}
	if n.right.op == konst {
		m.k = n.right.k
	} else {
		m.right = o.id(n.right)
	}
	if yes, known := o.decide(n, k); known { // and not safe: specialize skips safe ones
		m.yes = branch(yes)
		m.no = m.yes
	} else {
		m.yes, m.no = branch(true), branch(false)
		if m.yes == m.no && o.safe(n.left, k) && o.safe(n.right, k) {
			return o.reloading(m.yes)
		}
	}
	if m.yes == o.none && m.no == o.none && n.filter == o.last { // where a failed test leads, too
		return o.none
	}
	return o.node(n, m)
}

// node returns the new node m of an old one.
func (o *optimizer) node(n *node, m nodeKey) *node {
	out, ok := o.made[m]
	if !ok {
		out = &node{left: n.left, right: n.right, cmp: n.cmp, yes: m.yes, no: m.no, reload: m.reload, filter: n.filter}
		o.made[m] = out
	}
	return out
}

// reloading returns a new node that loads its value, for a place behind a test that is
// left out and would have loaded it.
func (o *optimizer) reloading(n *node) *node {
	if n.final() || n.reload {
		return n
	}
	m := nodeKey{filter: n.filter, left: o.id(n.left), cmp: n.cmp, yes: n.yes, no: n.no, reload: true}
	if n.right.op == konst {
		m.k = n.right.k
	} else {
		m.right = o.id(n.right)
	}
	return o.node(n, m)
}

// loaded is the value that a test loads: its left side without the mask.
func loaded(n *node) *value {
	if n.left.op == and && n.left.y.op == konst && n.left.x.op == load {
		return n.left.x
	}
	return n.left
}

// key reduces knowledge to what matters from n on, and encodes it.
func (o *optimizer) key(n *node, k *knowledge) string {
	atoms := n.reads
	if past := func(f fact) bool { return !atoms.has(f.id) }; slices.ContainsFunc(k.facts, past) {
		k.facts = slices.DeleteFunc(slices.Clone(k.facts), past)
	}
	done := slices.Clone(k.done)
	for i := range done {
		if i < len(atoms) {
			done[i] &= atoms[i]
		} else {
			done[i] = 0
		}
	}
	for len(done) > 0 && done[len(done)-1] == 0 {
		done = done[:len(done)-1]
	}
	k.done = done
	if k.last != n.loadedID {
		k.last = 0
	}
	b := binary.AppendUvarint(o.buf[:0], uint64(n.number))
	b = binary.AppendUvarint(b, k.end)
	b = binary.AppendUvarint(b, uint64(k.last))
	b = binary.AppendUvarint(b, uint64(len(k.facts)))
	for _, f := range k.facts {
		f = o.relevant(f, n.number)
		b = binary.AppendUvarint(b, uint64(f.id))
		b = binary.LittleEndian.AppendUint32(b, f.lo)
		b = binary.LittleEndian.AppendUint32(b, f.hi)
		b = append(b, byte(len(f.not)))
		for _, x := range f.not {
			b = binary.LittleEndian.AppendUint32(b, x)
		}
	}
	for _, w := range done {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	o.buf = b
	return string(b)
}

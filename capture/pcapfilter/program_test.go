package pcapfilter

// instruction of a classic BPF program, as the kernel has it (struct sock_filter).
type instruction struct {
	Op     uint16
	Jt, Jf uint8
	K      uint32
}

// Codes of classic BPF (McCanne, Jacobson 1993; linux/bpf_common.h).
const (
	bpfLdImm   = 0x00
	bpfLdAbs   = 0x20 // + size
	bpfLdInd   = 0x40 // + size
	bpfLdLen   = 0x80
	bpfLdMem   = 0x60
	bpfLdxMem  = 0x61
	bpfLdxMsh  = 0xb1
	bpfSt      = 0x02
	bpfAlu     = 0x04 // + operation, + bpfX
	bpfX       = 0x08
	bpfJa      = 0x05
	bpfJeq     = 0x15 // + bpfX
	bpfJgt     = 0x25
	bpfJge     = 0x35
	bpfRet     = 0x06
	bpfTax     = 0x07
	bpfTxa     = 0x87
	wholeFrame = 262144 // what accepting returns: bytes to keep
)

var (
	bpfSize = map[uint8]uint16{1: 0x10, 2: 0x08, 4: 0x00}
	bpfOp   = map[valueOp]uint16{
		add: 0x00, sub: 0x10, mul: 0x20, div: 0x30, or: 0x40, and: 0x50, shl: 0x60, shr: 0x70, mod: 0x90, xor: 0xa0,
	}
)

// bpfProgram writes a graph as a classic BPF program, which returns 0 for a frame that
// does not match: from its end to its start.
func bpfProgram(root *node) []instruction {
	b := &builder{at: map[*node]int{}}
	for _, end := range []*node{reject, accept} {
		k := uint32(0)
		if end == accept {
			k = wholeFrame
		}
		b.at[end] = len(b.back)
		b.back = append(b.back, instruction{Op: bpfRet, K: k})
	}
	b.node(root)
	// What is not the root's and stands before it is not there: the root is last.
	out := make([]instruction, 0, len(b.back)+1)
	if root.final() {
		out = append(out, instruction{Op: bpfJa, K: uint32(len(b.back) - b.at[root] - 1)})
	}
	for i := len(b.back) - 1; i >= 0; i-- {
		out = append(out, b.back[i])
	}
	return out
}

// builder holds a program back to front: its last instruction first.
type builder struct {
	back []instruction
	at   map[*node]int // index of a node's first instruction
	code []instruction // of the node at hand, front to back
}

func (b *builder) node(n *node) {
	if _, ok := b.at[n]; ok {
		return
	}
	b.node(n.yes)
	b.node(n.no)
	b.code = b.code[:0]
	jump := instruction{Op: [...]uint16{bpfJeq, bpfJgt, bpfJge}[n.cmp]}
	if n.right.op == konst {
		b.value(n.left, 0)
		jump.K = n.right.k
	} else {
		b.value(n.left, 0)
		b.emit(bpfSt, 0)
		b.value(n.right, 1)
		b.emit(bpfTax, 0)
		b.emit(bpfLdMem, 0)
		jump.Op |= bpfX
	}
	// A jump reaches 255 instructions; farther ones take a second one.
	yes, no := len(b.back)-b.at[n.yes]-1, len(b.back)-b.at[n.no]-1
	if yes > 253 || no > 253 {
		b.back = append(b.back, instruction{Op: bpfJa, K: uint32(no)}, instruction{Op: bpfJa, K: uint32(yes + 1)})
		yes, no = 0, 1
	}
	jump.Jt, jump.Jf = uint8(yes), uint8(no)
	b.back = append(b.back, jump)
	for i := len(b.code) - 1; i >= 0; i-- {
		b.back = append(b.back, b.code[i])
	}
	b.at[n] = len(b.back) - 1
}

func (b *builder) emit(op uint16, k uint32) { b.code = append(b.code, instruction{Op: op, K: k}) }

// reach is an offset as a program can have it. Those with the highest bit set are
// beyond every frame here, but mean something else to the kernel.
func reach(off uint32) uint32 { return min(off, 0x7fffffff) }

// value loads a value into A; the scratch memory from slot on is free.
func (b *builder) value(v *value, slot uint32) {
	switch v.op {
	case konst:
		b.emit(bpfLdImm, v.k)
	case wireLen:
		b.emit(bpfLdLen, 0)
	case headerLen:
		if v.x != nil {
			b.value(&value{op: mul, x: &value{op: and, x: &value{op: load, size: 1, off: v.off, x: v.x}, y: constant(15)}, y: constant(4)}, slot)
			return
		}
		b.emit(bpfLdxMsh, reach(v.off))
		b.emit(bpfTxa, 0)
	case load:
		switch {
		case v.x == nil:
			b.emit(bpfLdAbs|bpfSize[v.size], reach(v.off))
			return
		case v.x.op == headerLen && v.x.x == nil:
			b.emit(bpfLdxMsh, reach(v.x.off))
		default:
			b.value(v.x, slot)
			b.emit(bpfTax, 0)
		}
		b.emit(bpfLdInd|bpfSize[v.size], reach(v.off))
	default:
		b.value(v.x, slot)
		if v.y.op == konst {
			b.emit(bpfAlu|bpfOp[v.op], v.y.k)
			return
		}
		b.emit(bpfSt, slot)
		b.value(v.y, slot+1)
		b.emit(bpfTax, 0)
		b.emit(bpfLdMem, slot)
		b.emit(bpfAlu|bpfX|bpfOp[v.op], 0)
	}
}

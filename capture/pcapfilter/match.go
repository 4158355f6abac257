package pcapfilter

// source is where a step reads its number.
type source uint8

const (
	previous source = iota // the number of the step before
	byte1
	half      // 2 bytes, big-endian
	word      // 4 bytes
	ipByte1   // at off behind the IPv4 header that begins at base
	ipHalf    // likewise
	ipWord    // likewise
	frameLen  // bytes on the wire
	evaluated // calc[base:off]
)

// step is a test, lo <= number&mask <= lo+span, and the index of the step that
// follows either outcome. 32 bytes, two to a cache line.
type step struct {
	src     source
	filter  uint16 // of a classifier
	off     uint32
	base    uint32
	mask    uint32
	lo      uint32
	span    uint32
	yes, no int32
}

// accepted is the result of a filter's program for frames that match.
const accepted = ^int32(0)

// calc is an instruction of a stack machine: it pops its operands and pushes its
// result.
type calc struct {
	op   calcOp
	size uint8
	k    uint32 // offset, number
}

type calcOp uint8

const (
	push       calcOp = calcOp(shr) + 1 + iota
	loadAt            // size bytes at k
	loadPlus          // size bytes at k + operand
	headerAt          // 4 times the low nibble of the byte at k
	headerPlus        // 4 times the low nibble of the byte at k + operand
	chain4            // 1 if the headers of the IPv4 packet at k have the protocol size, else 0
	chain6            // likewise of IPv6
	pushLen
	pushInside // 1 if a packet inside the frame meets inners[k], else 0
	isEqual    // 1 or 0
	isGreater
	isAtLeast
)

// Match reports whether a frame matches. data is the captured part of the frame,
// from the destination address on. wireLen is its length on the wire, for less,
// greater and len. It does not allocate.
func (f *Filter) Match(data []byte, wireLen int) bool { return f.run(data, wireLen) == accepted }

// run returns the result of the program for a frame, or the index of a step that
// failed.
func (p *program) run(data []byte, wireLen int) int32 {
	var a uint32
	steps := p.code
	at := p.start
	for at >= 0 {
		s := &steps[at]
		off := uint64(s.off)
		switch s.src {
		case previous:
		case byte1:
			if off >= uint64(len(data)) {
				return at
			}
			a = uint32(data[off])
		case half:
			if off+2 > uint64(len(data)) {
				return at
			}
			a = uint32(data[off])<<8 | uint32(data[off+1])
		case word:
			if off+4 > uint64(len(data)) {
				return at
			}
			b := data[off : off+4]
			a = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
		case ipByte1, ipHalf, ipWord:
			base := uint64(s.base)
			if base >= uint64(len(data)) {
				return at
			}
			off += uint64(data[base]&0xf) << 2
			switch s.src {
			case ipHalf:
				if off+2 > uint64(len(data)) {
					return at
				}
				a = uint32(data[off])<<8 | uint32(data[off+1])
			case ipByte1:
				if off >= uint64(len(data)) {
					return at
				}
				a = uint32(data[off])
			default:
				if off+4 > uint64(len(data)) {
					return at
				}
				b := data[off : off+4]
				a = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
			}
		case frameLen:
			a = uint32(wireLen)
		default:
			var ok bool
			if a, ok = p.evaluate(p.calcs[s.base:s.off], data, uint32(wireLen)); !ok {
				return at
			}
		}
		if a&s.mask-s.lo <= s.span {
			at = s.yes
		} else {
			at = s.no
		}
	}
	return at
}

// maxStack is how many results a computation has at a time. The parser allows
// maxRegisters, on both sides of a comparison. The others are for operands that no
// expression writes: a header's length, the factor of a negation, the place behind a
// tunnel.
const maxStack = 32

// evaluate runs a computation. It returns false if a load or a division fails.
func (p *program) evaluate(code []calc, data []byte, wireLen uint32) (uint32, bool) {
	var stack [maxStack]uint32
	top := -1
	for i := range code {
		c := &code[i]
		switch c.op {
		case push:
			top++
			stack[top] = c.k
		case pushLen:
			top++
			stack[top] = wireLen
		case pushInside:
			top++
			stack[top] = truth(p.inners[c.k].holds(data, wireLen))
		case headerAt, headerPlus:
			off := uint64(c.k)
			if c.op == headerPlus {
				off += uint64(stack[top])
			} else {
				top++
			}
			if off >= uint64(len(data)) {
				return 0, false
			}
			stack[top] = uint32(data[off]&0xf) << 2
		case loadAt, loadPlus:
			off := uint64(c.k)
			if c.op == loadPlus {
				off += uint64(stack[top])
			} else {
				top++
			}
			if off+uint64(c.size) > uint64(len(data)) {
				return 0, false
			}
			n := uint32(0)
			for _, b := range data[off : off+uint64(c.size)] {
				n = n<<8 | uint32(b)
			}
			stack[top] = n
		case chain4, chain6:
			version := uint8(4)
			if c.op == chain6 {
				version = 6
			}
			n, ok := chainHas(data, uint64(c.k), version, c.size)
			if !ok {
				return 0, false
			}
			top++
			stack[top] = n
		default:
			y := stack[top]
			top--
			x := stack[top]
			switch c.op {
			case isEqual:
				stack[top] = truth(x == y)
			case isGreater:
				stack[top] = truth(x > y)
			case isAtLeast:
				stack[top] = truth(x >= y)
			default:
				op := valueOp(c.op)
				if y == 0 && (op == div || op == mod) {
					return 0, false
				}
				stack[top] = arithmetic(op, x, y)
			}
		}
	}
	return stack[0], true
}

func truth(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

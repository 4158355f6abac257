package pcapfilter

// valueOp is the operation that yields a value.
type valueOp uint8

const (
	konst     valueOp = iota // k
	load                     // size bytes at off, or at off+x if x is not nil; big-endian
	headerLen                // 4 times the low nibble of the byte at off: IPv4's header length
	wireLen                  // bytes of the frame on the wire
	add                      // x op y, all modulo 2^32
	sub
	mul
	div // no match if y is 0
	mod // likewise
	and
	or
	xor
	shl // 0 if y > 31
	shr // likewise
)

// value is a number computed from a frame. A load beyond the captured bytes and a
// division by 0 end the whole filter without a match. Values are immutable.
type value struct {
	op   valueOp
	size uint8  // load: 1, 2, 4
	off  uint32 // load, headerLen
	k    uint32 // konst
	x, y *value
}

func constant(k uint32) *value { return &value{op: konst, k: k} }

// at is a load at an offset that is known.
func at(off uint32, size uint8) *value { return &value{op: load, off: off, size: size} }

// atIndex is a load at off+x. A sum that goes beyond 2^32 fails, but a known x, or
// a known number that x begins with, is added to off modulo 2^32, as libpcap's
// optimizer does: ip[-2:2] is the frame's type.
func atIndex(off uint32, x *value, size uint8) *value {
	if x.op == konst {
		return at(off+x.k, size)
	}
	if x.op == add && x.x.op == konst {
		return &value{op: load, off: off + x.x.k, x: x.y, size: size}
	}
	return &value{op: load, off: off, x: x, size: size}
}

// compute is x op y, folded if both are known. If one operand is known to be 0, and
// thereby the result, the other is not read, as in libpcap's optimizer.
func compute(op valueOp, x, y *value) *value {
	xZero, yZero := x.op == konst && x.k == 0, y.op == konst && y.k == 0
	switch op {
	case add, or, xor:
		if yZero {
			return x
		} else if xZero {
			return y
		}
	case sub:
		if yZero {
			return x
		}
	case mul, and:
		if xZero || yZero {
			return constant(0)
		}
	case shl, shr:
		if xZero || yZero {
			return x
		}
	case div, mod:
		if xZero {
			return x
		}
	}
	if x.op == konst && y.op == konst && !(yZero && (op == div || op == mod)) {
		return constant(arithmetic(op, x.k, y.k))
	}
	return &value{op: op, x: x, y: y}
}

// arithmetic is x op y; y is not 0 for div and mod.
func arithmetic(op valueOp, x, y uint32) uint32 {
	switch op {
	case add:
		return x + y
	case sub:
		return x - y
	case mul:
		return x * y
	case div:
		return x / y
	case mod:
		return x % y
	case and:
		return x & y
	case or:
		return x | y
	case xor:
		return x ^ y
	case shl:
		return x << y
	default:
		return x >> y
	}
}

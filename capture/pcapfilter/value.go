package pcapfilter

// valueOp is the operation that yields a value.
type valueOp uint8

const (
	konst     valueOp = iota // k
	load                     // size bytes at off, or at off+x if x is not nil; big-endian
	headerLen                // 4 times the low nibble of the byte there: IPv4's header length
	wireLen                  // bytes of the frame on the wire
	inside                   // 1 if a packet inside the frame meets inner, else 0
	inChain                  // 1 if the headers of the IP packet at off, of version size, have the protocol k, else 0
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
	off  uint32 // load, headerLen, inChain
	k    uint32 // konst, inChain
	x, y *value

	inner  *inner
	tunnel uint8 // in how many tunnels a place behind the value lies
}

func constant(k uint32) *value { return &value{op: konst, k: k} }

// offset is a place in a frame: off bytes behind base, or, if base is nil, behind the
// frame's start.
type offset struct {
	base *value
	off  uint32
}

func (o offset) plus(n uint32) offset { return offset{o.base, o.off + n} }

// at is a load at an offset.
func at(o offset, size uint8) *value { return &value{op: load, off: o.off, x: o.base, size: size} }

// headerLength is the length of the IPv4 header at an offset.
func headerLength(o offset) *value { return &value{op: headerLen, off: o.off, x: o.base} }

// atIndex is a load at o+x. A sum that goes beyond 2^32 fails, but where o has no
// base a known x, or a known number that x begins with, is added modulo 2^32, as
// libpcap's optimizer does: ip[-2:2] is the frame's type. Where it has one, x and the
// base are.
func atIndex(o offset, x *value, size uint8) *value {
	off := o.off
	switch {
	case o.base != nil && x.op == konst && x.k <= maxShared:
		return at(o.plus(x.k), size)
	case o.base != nil:
		return &value{op: load, off: off, x: compute(add, x, o.base), size: size}
	case x.op == konst:
		return at(o.plus(x.k), size)
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

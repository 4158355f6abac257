package reg

import "fmt"

// Offset is the place of a register in BAR 0, in bytes.
type Offset uint32

// Field is a part of a register.
type Field struct {
	Shift, Width uint8 // lowest bit, number of bits
}

// Bit is the field of one bit.
func Bit(n uint8) Field { return Field{n, 1} }

// Bits is the field from bit high down to bit low, both included.
func Bits(high, low uint8) Field { return Field{low, high - low + 1} }

// Mask is the field's bits within its register.
func (f Field) Mask() uint32 { return uint32(uint64(1)<<f.Width-1) << f.Shift }

// Of is the field's value in the register value v.
func (f Field) Of(v uint32) uint32 { return v >> f.Shift & (f.Mask() >> f.Shift) }

// Val is x at the field's place. An x that does not fit is a mistake of the
// driver, so Val panics.
func (f Field) Val(x uint32) uint32 {
	if uint64(x)>>f.Width != 0 {
		panic(fmt.Sprintf("reg: %#x does not fit a field of %d bits", x, f.Width))
	}
	return x << f.Shift
}

// Set is v with the field replaced by x.
func (f Field) Set(v, x uint32) uint32 { return v&^f.Mask() | f.Val(x) }

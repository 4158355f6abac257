package reg

import "fmt"

// Access is the effect of reading and writing a register.
type Access uint8

const (
	RW Access = iota // reading and writing have no side effect
	RO               // read-only
	WO               // write-only: the value read is undefined
	RC               // cleared by reading
	RS               // reading acquires a semaphore
)

// Readable reports whether reading has no side effect.
func (a Access) Readable() bool { return a == RW || a == RO }

// Use is which elements of an array the driver uses.
type Use uint8

const (
	All          Use = iota
	First            // element 0
	PerQueue         // one for each queue
	PerQueuePair     // one for two receive queues
	PerVector        // one for each receive queue and one for other causes
	OfX550           // all, on an X550 only
)

// Offset is the place of a register in BAR 0, in bytes.
type Offset uint32

// Row declares a register or an array of registers.
type Row struct {
	Name    string
	Access  Access
	Section string // of the datasheet
	Use     Use
	place   span
	fields  []Field
}

// Table holds all rows in the order of their declaration.
var Table []*Row

// N returns the number of elements, 1 for a single register.
func (r *Row) N() int { return r.place.n }

// At returns element i. It panics if there is none.
func (r *Row) At(i int) Register {
	if i < 0 || i >= r.place.n {
		panic(fmt.Sprintf("reg: %s[%d]: index out of range, %d elements", r.Name, i, r.place.n))
	}
	return Register{Offset: r.place.at(i), Index: i, row: r}
}

// Fields returns the fields of the row that the driver uses.
func (r *Row) Fields() []Field { return r.fields }

// Register is one register: a row, or an element of an array.
type Register struct {
	Offset Offset
	Index  int // in its array, 0 for a single register
	row    *Row
}

// Row returns the declaration.
func (r Register) Row() *Row { return r.row }

// Name returns the register's name, such as "CTRL" or "RXDCTL[3]".
func (r Register) Name() string {
	if r.row.place.n == 1 {
		return r.row.Name
	}
	return fmt.Sprintf("%s[%d]", r.row.Name, r.Index)
}

// Array is a register array: a function from the index to the element. It panics
// if the index is out of range.
type Array func(i int) Register

// Field is a range of bits of a register.
type Field struct {
	Name         string
	Shift, Width uint8 // lowest bit, number of bits
	row          *Row
}

// In reports whether the field is one of register r.
func (f Field) In(r Register) bool { return f.row == r.row }

// String returns the name with that of the register, such as "RXDCTL.ENABLE".
func (f Field) String() string { return f.row.Name + "." + f.Name }

// Mask returns the field's bits within its register.
func (f Field) Mask() uint32 { return uint32(uint64(1)<<f.Width-1) << f.Shift }

// Of returns the field's value in the register value v.
func (f Field) Of(v uint32) uint32 { return v >> f.Shift & (f.Mask() >> f.Shift) }

// Val returns x shifted to the field's place. It panics if x does not fit.
func (f Field) Val(x uint32) uint32 {
	if uint64(x)>>f.Width != 0 {
		panic(fmt.Sprintf("reg: %s: value %#x does not fit %d bits", f, x, f.Width))
	}
	return x << f.Shift
}

// Set returns v with the field replaced by x.
func (f Field) Set(v, x uint32) uint32 { return v&^f.Mask() | f.Val(x) }

// span is the place of an array: n registers, stride bytes apart from first on,
// those from index split on (if split is not 0) from second on.
type span struct {
	first, stride Offset
	n             int
	split         int
	second        Offset
}

func each(first, stride Offset, n int) span { return span{first: first, stride: stride, n: n} }

// from moves the elements from index split on to the offset second.
func (s span) from(split int, second Offset) span {
	s.split, s.second = split, second
	return s
}

func (s span) at(i int) Offset {
	if s.split != 0 && i >= s.split {
		return s.second + Offset(i-s.split)*s.stride
	}
	return s.first + Offset(i)*s.stride
}

// rxQueue is the place of a register of the 128 receive queues, at an offset
// within 0x40 bytes for each queue.
func rxQueue(at Offset) span { return each(0x01000+at, 0x40, 128).from(64, 0x0D000+at) }

// txQueue is the place of a register of the 128 transmit queues.
func txQueue(at Offset) span { return each(0x06000+at, 0x40, 128) }

func declare(name string, place span, a Access, section string, use Use) *Row {
	r := &Row{Name: name, place: place, Access: a, Section: section, Use: use}
	Table = append(Table, r)
	return r
}

// one declares a single register.
func one(name string, at Offset, a Access, section string) Register {
	return declare(name, each(at, 4, 1), a, section, All).At(0)
}

// array declares a register array.
func array(name string, place span, a Access, section string, use Use) Array {
	return declare(name, place, a, section, use).At
}

// bits declares a field from bit high down to bit low, both included.
func (r Register) bits(name string, high, low uint8) Field {
	f := Field{Name: name, Shift: low, Width: high - low + 1, row: r.row}
	r.row.fields = append(r.row.fields, f)
	return f
}

// bit declares a field of one bit.
func (r Register) bit(name string, n uint8) Field { return r.bits(name, n, n) }

func (a Array) bits(name string, high, low uint8) Field { return a(0).bits(name, high, low) }
func (a Array) bit(name string, n uint8) Field          { return a(0).bit(name, n) }

// Resource is a part of the device that software and firmware share: a bit of
// SW_FW_SYNC for each of them, set by the holder.
type Resource struct{ Software, Firmware Field }

// resource declares the bits n and n+5.
func (r Register) resource(name string, n uint8) Resource {
	return Resource{Software: r.bit(name, n), Firmware: r.bit(name+"_FW", n+5)}
}

// four declares four fields of equal width, 8 bits apart from bit 0 on.
func (r Register) four(name string, width uint8) (f [4]Field) { return r.fourFrom(name, 0, width) }

// fourFrom declares four fields of equal width, 8 bits apart from bit low on.
func (r Register) fourFrom(name string, low, width uint8) (f [4]Field) {
	for i := range f {
		at := low + uint8(8*i)
		f[i] = r.bits(fmt.Sprint(name, i), at+width-1, at)
	}
	return f
}

func (a Array) four(name string, width uint8) [4]Field { return a(0).four(name, width) }

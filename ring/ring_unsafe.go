package ring

import "unsafe"

// RxDescriptors returns memory as receive descriptors, without copying. mem must be
// device memory outside the Go heap that outlives the result, and start at a
// multiple of 8 (rings start at 128). Less than one descriptor gives nil.
func RxDescriptors(mem []byte) []RxDescriptor {
	return view[RxDescriptor](mem)
}

// TxDescriptors is RxDescriptors for a transmit ring.
func TxDescriptors(mem []byte) []TxDescriptor {
	return view[TxDescriptor](mem)
}

// view reinterprets mem. Lifetime: the caller keeps the mapping until the queue is
// closed; the result keeps nothing alive. Alignment is checked: the 64-bit loads of
// DD must not be split.
func view[D RxDescriptor | TxDescriptor](mem []byte) []D {
	n := len(mem) / DescriptorSize
	if n == 0 {
		return nil
	}
	p := unsafe.Pointer(&mem[0])
	if uintptr(p)%8 != 0 {
		panic("ring: descriptors not at a multiple of 8 bytes")
	}
	return unsafe.Slice((*D)(p), n)
}

// Word returns the first four bytes of device memory as a word that the device writes.
// The memory outlives the result, and begins at a multiple of 4.
func Word(mem []byte) *uint32 {
	if p := unsafe.Pointer(&mem[:4][0]); uintptr(p)%4 == 0 {
		return (*uint32)(p)
	}
	panic("ring: word not at a multiple of 4 bytes")
}

// Buffers are the packet buffers of a ring: Size bytes at every Stride bytes of
// one block of device memory. Buffer i belongs to descriptor i, always.
type Buffers struct {
	base         unsafe.Pointer // of the block, outside the Go heap
	size, stride uint32
	n            uint32
}

// NewBuffers divides mem into n buffers. mem must outlive the Buffers and every slice
// of them.
func NewBuffers(mem []byte, n, size, stride int) Buffers {
	if n <= 0 || size <= 0 || stride < size || len(mem) < (n-1)*stride+size {
		panic("ring: buffers do not fit their memory")
	}
	return Buffers{base: unsafe.Pointer(&mem[0]), size: uint32(size), stride: uint32(stride), n: uint32(n)}
}

// Slice returns the first length bytes of buffer i. The caller must make sure that
// i < n and length <= size (a poll loop does so once, from the descriptor); Slice
// does not check it. The block outlives the slice (see NewBuffers); bytes need no
// alignment.
func (b *Buffers) Slice(i, length uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(b.base, uintptr(i)*uintptr(b.stride))), length)
}

// Cursor iterates over the buffers of a ring, for loops in which Slice is too slow.
type Cursor struct{ at unsafe.Pointer }

// From returns a cursor at buffer i, i <= n. Its lifetime is that of the block.
func (b *Buffers) From(i uint32) Cursor {
	return Cursor{unsafe.Add(b.base, uintptr(i)*uintptr(b.stride))}
}

// Slice returns the first length bytes of the cursor's buffer, as Buffers.Slice.
func (c Cursor) Slice(length uint32) []byte {
	return (*[1 << 16]byte)(c.at)[:uint16(length):uint16(length)]
}

// Next returns a cursor at the next buffer, stride bytes on. After the last one it
// points behind the block, which is allowed outside the Go heap.
func (c Cursor) Next(stride uint64) Cursor { return Cursor{unsafe.Add(c.at, stride)} }

// Size returns the capacity of a buffer in bytes.
func (b *Buffers) Size() int { return int(b.size) }

// Stride returns the distance between two buffers in bytes.
func (b *Buffers) Stride() int { return int(b.stride) }

// Len returns the number of buffers.
func (b *Buffers) Len() int { return int(b.n) }

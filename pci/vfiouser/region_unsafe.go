package vfiouser

import "unsafe"

// register is the 32-bit register at off of mapped memory.
//
// Lifetime: mem is mapped by mmap, not on the Go heap, and stays mapped while
// its opening lets anybody in. Alignment: a mapping that register is used on
// starts at a multiple of 4, and callers check that off is one.
func register(mem []byte, off uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&mem[off : off+4][0]))
}

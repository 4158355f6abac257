package vfiouser

import "unsafe"

// register returns the 32-bit register at off of mapped memory.
//
// Lifetime: mem is mapped by mmap and stays mapped while its gate admits accesses.
// Alignment: mem starts at a multiple of 4, and callers check that off is one.
func register(mem []byte, off uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&mem[off : off+4][0]))
}

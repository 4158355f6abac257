package main

import "unsafe"

// address returns the address of mapped memory, for /proc/self/pagemap. Lifetime: it is not
// dereferenced.
func address(mem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&mem[0]))) }

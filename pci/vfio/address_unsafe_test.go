package vfio

import "unsafe"

// addressOf returns the address of mapped memory.
func addressOf(mem []byte) uintptr { return uintptr(unsafe.Pointer(&mem[0])) }

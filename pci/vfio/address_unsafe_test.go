package vfio

import "unsafe"

// addressOf is where mapped memory begins, as /proc/self/maps writes it.
func addressOf(mem []byte) uintptr { return uintptr(unsafe.Pointer(&mem[0])) }

package sim_test

import (
	"sync/atomic"
	"unsafe"
)

// loadWord loads a descriptor's word as a driver does: A2 acquires, pairs with R1.
// b is 8-byte aligned and mapped until the test ends.
func loadWord(b []byte) uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0]))) }

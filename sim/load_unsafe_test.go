package sim_test

import (
	"sync/atomic"
	"unsafe"
)

// loadWord loads a descriptor's word as a driver does: atomically, before the
// frame. b is 8-byte aligned and stays mapped for the test.
func loadWord(b []byte) uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(&b[0]))) }

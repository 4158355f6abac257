package sim

import (
	"sync/atomic"
	"unsafe"
)

// asWords views host memory as 64-bit words, nil when it is not aligned to 8.
// The view lives as long as the mapping behind b, that is until the next
// Quiesce or Detach; both make the NIC forget it.
func asWords(b []byte) []uint64 {
	p := unsafe.Pointer(unsafe.SliceData(b))
	if len(b) < 8 || uintptr(p)%8 != 0 {
		return nil
	}
	return unsafe.Slice((*uint64)(p), len(b)/8)
}

// shadowWord is the 32-bit word at byte off of the shadow page, which stays
// mapped as long as the NIC lives; off is a multiple of 4.
func shadowWord(page []byte, off int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&page[off : off+4][0]))
}

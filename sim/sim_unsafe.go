package sim

import (
	"sync/atomic"
	"unsafe"
)

// asWords returns host memory as 64-bit words, nil unless it is aligned to 8. The
// slice is valid as long as the mapping of b, until the next Quiesce or Detach; both
// invalidate it.
func asWords(b []byte) []uint64 {
	p := unsafe.Pointer(unsafe.SliceData(b))
	if len(b) < 8 || uintptr(p)%8 != 0 {
		return nil
	}
	return unsafe.Slice((*uint64)(p), len(b)/8)
}

// shadowWord is the 32-bit word at byte off, a multiple of 4, of the shadow page,
// which is mapped until the NIC is closed.
func shadowWord(page []byte, off int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&page[off : off+4][0]))
}

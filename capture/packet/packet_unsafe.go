package packet

import (
	"sync/atomic"
	"unsafe"
)

// word is the 32-bit word at an offset, a multiple of 4, of a ring's memory. The memory
// is mapped outside the Go heap and shared with the kernel; the port unmaps it last.
func word(mem []byte, offset int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&mem[offset : offset+4][0]))
}

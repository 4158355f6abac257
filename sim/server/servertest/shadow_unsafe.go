package servertest

import (
	"sync/atomic"
	"unsafe"
)

// shadowValue loads a doorbell's value. A1: it acquires, and pairs with the client's
// store of the value (release). Lifetime: shadow is mapped until all threads
// have ended (Close). Alignment: 64 bytes within a page.
func (d *Device) shadowValue(bell int) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&d.shadow[bell*64])))
}

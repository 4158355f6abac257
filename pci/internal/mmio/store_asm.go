//go:build amd64 || arm64

package mmio

// Store32 writes v to a register once, after all earlier stores of the caller are visible
// to the device. M1, a release; pairs with M2 in Load32 if the memory is shared with a
// process, and with the device's read of the register else.
//
//go:noescape
func Store32(p *uint32, v uint32)

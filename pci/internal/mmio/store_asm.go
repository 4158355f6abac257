//go:build amd64 || arm64

package mmio

// Store32 writes v to a register, once, after all earlier stores of the caller
// have become visible to the device.
//
//go:noescape
func Store32(p *uint32, v uint32)

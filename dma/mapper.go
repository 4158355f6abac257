package dma

import "github.com/ixcap/ixcap/hugepage"

// IOVA is an I/O virtual address, as a device puts it on the bus and a descriptor
// holds it. It is no address of this process.
type IOVA uint64

// Access is how a device may access memory mapped for it.
type Access uint8

const (
	DeviceReads Access = 1 << iota
	DeviceWrites
	DeviceReadsWrites = DeviceReads | DeviceWrites
)

// Mapper makes memory visible to one device. A transport implements it and
// chooses the addresses from the ranges that its IOMMU (or its peer) allows.
type Mapper interface {
	// Map makes all of mem visible to the device and returns the device address of
	// its first byte, a multiple of mem.PageSize(). mem must stay open until Unmap.
	Map(mem *hugepage.Memory, access Access) (IOVA, error)

	// Unmap undoes Map. After it the device cannot access the memory. Unmapping an
	// address that Map did not return is an error.
	Unmap(iova IOVA) error
}

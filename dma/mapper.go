package dma

import "github.com/ixcap/ixcap/hugepage"

// IOVA is an I/O virtual address: what a device puts on the bus, what a
// descriptor holds, and nothing this process could dereference.
type IOVA uint64

// Access says what a device may do with memory mapped for it.
type Access uint8

const (
	DeviceReads Access = 1 << iota
	DeviceWrites
	DeviceReadsWrites = DeviceReads | DeviceWrites
)

// Mapper makes memory visible to one device. A transport implements it and
// chooses the addresses, from the ranges that its IOMMU (or its peer) allows.
type Mapper interface {
	// Map makes all of mem visible to the device and returns where the device
	// sees its first byte. mem must stay open until Unmap. The address is a
	// multiple of mem.PageSize().
	Map(mem *hugepage.Memory, access Access) (IOVA, error)

	// Unmap takes back what Map gave. After it the device cannot reach the
	// memory; unmapping an address that Map did not return is an error.
	Unmap(iova IOVA) error
}

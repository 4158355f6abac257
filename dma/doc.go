// Package dma is memory that a device can reach.
//
// In goes memory from package hugepage and a Mapper, the transport's way of
// showing memory to one device; out come the same bytes with two addresses: a
// slice for this process, an IOVA for the device's descriptors.
//
//	           hugepage.Memory              Mapper (VFIO, vfio-user)
//	process    Bytes() ----------> pages <---------- IOVA    device
//
//	Area       |ring of descriptors ......................|
//	Pool       |buffer 0 |buffer 1 |buffer 2 | ... |buffer n-1|
//	           Base      +Stride   +2*Stride
//
// An Area is one block, for descriptor rings. A Pool is buffers of one size in
// fixed places: buffer i is at Base()+i*Stride(), and nothing is handed out or
// taken back, because a receive ring uses descriptor i with buffer i for its
// whole life.
//
// An Allocator finds free addresses for a Mapper: in the ranges the IOMMU
// allows, outside those it reserves. Package dmatest has a Mapper in memory.
package dma

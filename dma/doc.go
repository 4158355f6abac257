// Package dma makes memory of package hugepage visible to a device through a Mapper,
// the transport's interface for that. The bytes have two addresses then: a slice for
// this process, an IOVA for the device's descriptors.
//
//	           hugepage.Memory              Mapper (VFIO, vfio-user)
//	process    Bytes() ----------> pages <---------- IOVA    device
//
//	Area       |ring of descriptors ......................|
//	Pool       |buffer 0 |buffer 1 |buffer 2 | ... |buffer n-1|
//	           Base      +Stride   +2*Stride
//
// An Area is one block, for descriptor rings. A Pool has buffers of one size in
// fixed places: buffer i is at Base()+i*Stride(). Buffers are not allocated and freed
// one by one, because a receive ring uses buffer i with descriptor i all the time.
//
// An Allocator finds free addresses for a Mapper: in the ranges the IOMMU
// allows, outside those it reserves. Package dmatest has a Mapper in memory.
package dma

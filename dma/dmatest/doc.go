// Package dmatest has a dma.Mapper for tests, without device and IOMMU. Its addresses
// differ from the process's own and do not fit 32 bits. It checks access rights,
// translates an IOVA back to the bytes, and counts mappings that were not unmapped.
//
//	code under test --Map--> Mapper --IOVA--> code under test --descriptor--> test
//	                            ^                                              |
//	                            +----------------- At(iova, n, access) --------+
package dmatest

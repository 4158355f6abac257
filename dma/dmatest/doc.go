// Package dmatest has a dma.Mapper for tests: no device, no IOMMU, but addresses
// that differ from the process's own and do not fit 32 bits, access rights, a
// way back from an IOVA to the bytes, and a count of what was left mapped.
//
//	code under test --Map--> Mapper --IOVA--> code under test --descriptor--> test
//	                            ^                                              |
//	                            +----------------- At(iova, n, access) --------+
package dmatest

// Package access splits reads and writes of a pci.Region into single accesses to the
// device. Both transports use it.
//
//	ReadAt(p, off)   ─> Read  ─> accesses of 1, 2, 4 or 8 aligned bytes ─> transport
//	WriteAt(p, off)  ─> Write ─┘
//	Load32, Store32  ─> Check ─> one access of 4 bytes
package access

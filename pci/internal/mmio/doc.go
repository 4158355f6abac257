// Package mmio makes single 32-bit accesses to memory that is a device.
//
//	Store32  earlier stores to memory | barrier | one store, the register
//	Load32   one load, the register   | later accesses stay behind it
//
// Why not sync/atomic for the store: on amd64 atomic.StoreUint32 compiles to
// XCHG, a locked read-modify-write. On ordinary memory that is only slow; on a
// register it is a device read too, microseconds long, and it clears counters
// that are cleared by reading. Why not a plain assignment: the compiler may
// merge two of them, and move them past the stores that fill a descriptor.
//
// So Store32 is assembly, one instruction that stores. The Go compiler neither
// looks into an assembly function nor moves memory accesses across its call, so
// the call is the compiler barrier as well. What the processor needs on top:
//
//   - amd64: nothing. Stores to write-back memory become visible in program
//     order, and a store to uncached memory is not passed by earlier ones.
//   - arm64: DMB OSHST before the store, which orders it behind earlier stores
//     for every observer that shares the memory, devices included.
//
// Elsewhere the package does not build: a wrong guess about a barrier would be
// found by nobody until frames are corrupted.
//
// Pointers given here are to memory mapped from a device (or shared with a peer
// that plays one), 4-byte aligned, little-endian like all of PCI.
package mmio

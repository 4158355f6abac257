// Package mmio makes single 32-bit accesses to the registers of a device.
//
//	Store32  earlier stores to memory | barrier | one store, the register
//	Load32   one load, the register   | later accesses stay after it
//
// Store32 is not atomic.StoreUint32, because on amd64 that compiles to XCHG, a locked
// read-modify-write: on a register it is also a device read, which takes microseconds and
// clears counters that are cleared by reading. It is not a plain assignment, because the
// compiler may merge two assignments, and may move them before the stores of a
// descriptor.
//
// So Store32 is assembly with one store instruction. The Go compiler does not move memory
// accesses across the call of an assembly function, so the call is the compiler barrier.
// The barrier of the processor:
//
//   - amd64: none is needed. Stores to write-back memory become visible in program
//     order, and a store to uncached memory comes after earlier stores.
//   - arm64: DMB OSHST before the store orders it after earlier stores for all observers
//     that share the memory, including devices.
//
// The package does not build on other processors, because a missing barrier would
// corrupt frames without an error.
//
// Pointers are to memory mapped from a device, or shared with a server of one. They are
// 4-byte aligned; the memory is little-endian as all of PCI.
package mmio

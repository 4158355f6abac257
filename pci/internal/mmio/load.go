package mmio

import "sync/atomic"

// Load32 reads a register once. atomic.LoadUint32 is one plain load (MOVL on amd64, LDARW
// on arm64, an acquire), which the compiler does not repeat, remove or move. M2, pairs
// with M1 in Store32.
func Load32(p *uint32) uint32 { return atomic.LoadUint32(p) }

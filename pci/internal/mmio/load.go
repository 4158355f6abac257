package mmio

import "sync/atomic"

// Load32 reads a register once. atomic.LoadUint32 is one plain load (MOVL on
// amd64, LDARW on arm64, an acquire), which the compiler neither repeats, drops
// nor moves.
func Load32(p *uint32) uint32 { return atomic.LoadUint32(p) }

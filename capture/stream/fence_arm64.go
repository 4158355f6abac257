package stream

import "sync/atomic"

// storeRelease makes all earlier stores visible before this one (STLR).
func storeRelease(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// fence orders all memory accesses before it against all after it. Acquire loads
// and release stores order one direction only; R1 and A1 need both.
func fence()

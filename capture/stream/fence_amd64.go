package stream

// storeRelease makes all earlier stores visible before this one. On amd64 that
// is what any store does, and one MOV costs a tenth of the XCHG that
// atomic.Uint64.Store compiles to. Go moves no memory access across the call.
//
//go:noescape
func storeRelease(p *uint64, v uint64)

// fence orders all memory accesses before it against all loads and stores
// after it, except that a later load may pass an earlier store. amd64 never
// reorders more than that, and Go moves no memory access across atomics, which
// stand next to every fence, so there is nothing to do.
func fence() {}

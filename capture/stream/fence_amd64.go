package stream

// storeRelease makes all earlier loads and stores visible before this store. On
// amd64 every store does that, and a MOV costs a tenth of the XCHG that
// atomic.Uint64.Store compiles to. Go moves no memory access across the call.
//
//go:noescape
func storeRelease(p *uint64, v uint64)

// fence orders all memory accesses before it against all after it, except that a
// later load may pass an earlier store. amd64 reorders no more than that, and Go
// moves no memory access across the atomics next to every fence, so fence is empty.
func fence() {}

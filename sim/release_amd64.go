//go:build amd64 && !race

package sim

// storeRelease stores v with release order. On amd64 that is a plain MOV; the
// XCHG of sync/atomic would make the core wait for every earlier store of the
// frame to leave its store buffer.
//
//go:noescape
func storeRelease(p *uint64, v uint64)

//go:build !amd64 && !arm64

package stream

import "sync/atomic"

// storeRelease makes all earlier stores visible before this one.
func storeRelease(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

// fence orders all memory accesses before it against all after it: a locked
// read-modify-write is a full barrier wherever Go runs.
func fence() {
	var word uint64
	atomic.AddUint64(&word, 1)
}

//go:build !amd64 || race

package sim

import "sync/atomic"

// storeRelease stores v with release order.
func storeRelease(p *uint64, v uint64) { atomic.StoreUint64(p, v) }

//go:build race

package fanout

import "sync/atomic"

// add adds to a counter that one goroutine writes and others load atomically.
func (c *counter) add(n uint64) { atomic.StoreUint64(&c.n, c.n+n) }

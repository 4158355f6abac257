//go:build !race

package fanout

// add adds to a counter that one goroutine writes and others load atomically. A
// store that is one instruction is enough for that; atomic.StoreUint64 is an XCHG on
// amd64, which costs more than the rest of Assign for a frame.
func (c *counter) add(n uint64) { c.n += n }

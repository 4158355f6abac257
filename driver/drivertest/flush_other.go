//go:build !amd64

package drivertest

import "runtime"

// flushLines evicts the caches' content by reading more than they hold: not every
// architecture has a flush instruction for user space.
func flushLines(*byte, uintptr) {
	var sum byte
	b := make([]byte, 128<<20)
	for i := 0; i < len(b); i += 64 {
		b[i]++
		sum += b[i]
	}
	runtime.KeepAlive(sum)
}

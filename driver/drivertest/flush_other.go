//go:build !amd64

package drivertest

import "runtime"

// flushLines displaces the caches' content by reading more than they hold, for
// want of an instruction that user space may use everywhere.
func flushLines(*byte, uintptr) {
	var sum byte
	b := make([]byte, 128<<20)
	for i := 0; i < len(b); i += 64 {
		b[i]++
		sum += b[i]
	}
	runtime.KeepAlive(sum)
}

package cli

import (
	"os"
	"runtime/debug"
)

// collectEvery is the least that a program allocates between two garbage
// collections, in percent of Go's own minimum of 4 MiB: 64 MiB.
const collectEvery = 1600

// Collector makes garbage collections rare. Each stops all goroutines, pollers
// too, twice for some ten microseconds, and for as long again as the Go scheduler
// takes to hand a poller its processor back; and what a capture program has on
// the heap is a few MiB, which takes no time to double. Streams, rings and packet
// buffers are not on it. GOGC and GOMEMLIMIT in the environment win.
func Collector() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(collectEvery)
	}
}

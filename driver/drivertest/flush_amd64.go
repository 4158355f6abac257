package drivertest

// flushLines flushes every cache line of the n bytes at p (CLFLUSH), and waits.
//
//go:noescape
func flushLines(p *byte, n uintptr)

//go:build !amd64

package sim

import "time"

var ticksSince = time.Now()

// ticks is the time in ns, in place of a counter.
func ticks() uint64 { return uint64(time.Since(ticksSince)) }

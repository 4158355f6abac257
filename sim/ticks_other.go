//go:build !amd64

package sim

import "time"

var ticksSince = time.Now()

// ticks is what there is instead of a counter: nanoseconds.
func ticks() uint64 { return uint64(time.Since(ticksSince)) }

//go:build !amd64

package capture

import "github.com/ixcap/ixcap/ring"

// prefetchFrames is a hint that other architectures do without.
func prefetchFrames([]ring.Frame) {}

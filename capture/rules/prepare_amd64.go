package rules

import "github.com/ixcap/ixcap/ring"

// prepare is prepareGo in assembly. A prefetch may have any address. len(keep) is at
// least len(frames).
//
//go:noescape
func prepare(frames []ring.Frame, keep []uint32, most uint32) (bytes uint64, plain bool)

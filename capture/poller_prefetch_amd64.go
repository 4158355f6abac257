package capture

import "github.com/ixcap/ixcap/ring"

// prefetchFrames asks for the first cache line of each frame's first buffer. It
// is a hint: addresses that are not mapped do no harm. One call for several
// frames, because a call costs more than a prefetch.
//
//go:noescape
func prefetchFrames(frames []ring.Frame)

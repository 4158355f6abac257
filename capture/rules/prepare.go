package rules

import "github.com/ixcap/ixcap/ring"

// prepareGo sets keep to all of each frame, but at least 1 byte and at most so many.
// It returns the length of all frames on the wire, and whether each lies in one
// piece as it was on the wire. prepare is the same, and also prefetches the first
// cache line of each frame.
func prepareGo(frames []ring.Frame, keep []uint32, most uint32) (bytes uint64, plain bool) {
	plain = true
	for i := range frames {
		f := &frames[i]
		bytes += uint64(f.Len)
		keep[i] = max(1, min(most, f.Len))
		if inPieces(f) {
			plain = false
		}
	}
	return bytes, plain
}

// inPieces reports whether a frame does not lie in one piece as it was on the wire.
func inPieces(f *ring.Frame) bool { return f.Rest != nil || f.Info&ring.Stripped != 0 }

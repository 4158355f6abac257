package pcapfilter

import "github.com/ixcap/ixcap/ring"

// compare32 is compare32Go in assembly, 16 numbers at a time.
//
//go:noescape
func compare32(numbers *[MaxBatch]uint32, n int, mask, lo, span uint32) (yes uint64)

// The following are loadGo and loadIPGo in assembly. There are at most MaxBatch
// frames.
//
//go:noescape
func loadBytes(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) (failed uint64)

//go:noescape
func loadHalves(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) (failed uint64)

//go:noescape
func loadWords(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) (failed uint64)

//go:noescape
func loadIPHalves(frames []ring.Frame, base, off uint32, out *[MaxBatch]uint32) (failed uint64)

//go:noescape
func loadIPWords(frames []ring.Frame, base, off uint32, out *[MaxBatch]uint32) (failed uint64)

//go:build !amd64

package pcapfilter

import "github.com/ixcap/ixcap/ring"

func compare32(numbers *[MaxBatch]uint32, n int, mask, lo, span uint32) uint64 {
	return compare32Go(numbers, n, mask, lo, span)
}

func loadBytes(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) uint64 {
	return loadGo(frames, off, 1, out)
}

func loadHalves(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) uint64 {
	return loadGo(frames, off, 2, out)
}

func loadWords(frames []ring.Frame, off uint32, out *[MaxBatch]uint32) uint64 {
	return loadGo(frames, off, 4, out)
}

func loadIPHalves(frames []ring.Frame, base, off uint32, out *[MaxBatch]uint32) uint64 {
	return loadIPGo(frames, base, off, 2, out)
}

func loadIPWords(frames []ring.Frame, base, off uint32, out *[MaxBatch]uint32) uint64 {
	return loadIPGo(frames, base, off, 4, out)
}

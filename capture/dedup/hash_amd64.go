package dedup

import (
	"golang.org/x/sys/cpu"

	"github.com/ixcap/ixcap/ring"
)

// ahead is the number of frames between the prefetch of a frame and its use.
//
//lint:ignore U1000 hash_amd64.s uses it as const_ahead
const ahead = 8

// hasAES reports whether the processor has the instructions of hashFramesAES.
func hasAES() bool { return cpu.X86.HasAES && cpu.X86.HasAVX }

// hashFramesAES is hashFramesGo with rounds of AES as the hash. It also stops at a frame
// of which fewer than shortest bytes are hashed. It prefetches the frames ahead and the
// frames' slots.
//
//go:noescape
func hashFramesAES(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int

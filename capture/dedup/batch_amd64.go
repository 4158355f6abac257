package dedup

import (
	"golang.org/x/sys/cpu"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// ahead is the number of frames between the prefetch of a frame and its use.
//
//lint:ignore U1000 batch_amd64.s uses it as const_ahead
const ahead = 8

// hasAES reports whether the processor has the instructions of hashFramesAES.
func hasAES() bool { return cpu.X86.HasAES && cpu.X86.HasAVX }

// hashFramesAES is hashFramesGo with rounds of AES as the hash. It also stops at a frame
// of which fewer than shortest bytes are hashed. It prefetches the frames ahead and the
// frames' slots.
//
//go:noescape
func hashFramesAES(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int

// hasAVX2 reports whether the processor has the instructions of enterNewAVX2.
func hasAVX2() bool { return cpu.X86.HasAVX2 }

// enterNewAVX2 enters frames with their hashes into a table that has
// slots of wideSlot records by content. It stops at a frame for which there is a record
// with the upper bits of its hash, that lies in several buffers, or that will be cut. It
// returns the number of frames before.
//
//go:noescape
func enterNewAVX2(t *Table, first int, frames []ring.Frame, hashes []uint64, stamps []clock.Stamp, keep []uint32) int

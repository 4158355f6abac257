package stream

import (
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// ahead is the number of frames between the prefetch of a frame and its use.
//
//lint:ignore U1000 batch_amd64.s uses it as const_ahead
const ahead = 8

// prefetchFirst prefetches the first cache line of each of the first ahead frames,
// if there are more; fastAppend and fastAppendStamped prefetch the others. A
// prefetch may have any address.
//
//go:noescape
func prefetchFirst(frames []ring.Frame)

// fastAppend is fastAppendGo in assembly. It is a third faster, because Go keeps
// nothing in registers across the calls that read the counter and copy. It stops
// at a frame shorter than 32 bytes. It prefetches the frames ahead, and the cache
// lines that their records and entries go to.
//
//go:noescape
func fastAppend(data []byte, index []Entry, frames []ring.Frame, at *window, line *clock.Line) int

// fastPlace is fastPlaceGo in assembly.
//
//go:noescape
func fastPlace(data []byte, index []Entry, descs []ring.RxDescriptor, at *placing, line *clock.Line) int

// fastAppendCut is fastAppendCutGo in assembly. It stops at a frame of which less
// than 32 bytes are kept, but for skipped ones. len(keep) is len(frames).
//
//go:noescape
func fastAppendCut(data []byte, index []Entry, frames []ring.Frame, keep []uint32, at *window, line *clock.Line) int

// fastAppendStamped is fastAppendStampedGo in assembly. It stops at a frame of
// which less than 32 bytes are kept.
//
//go:noescape
func fastAppendStamped(data []byte, index []Entry, frames []ring.Frame, stamps []clock.Stamp, keep []uint32, at *window) int

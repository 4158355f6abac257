//go:build !amd64

package stream

import (
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

func prefetchFirst([]ring.Frame) {}

func fastAppend(data []byte, index []Entry, frames []ring.Frame, at *window, line *clock.Line) int {
	return fastAppendGo(data, index, frames, at, line, clock.Ticks)
}

func fastPlace(data []byte, index []Entry, descs []ring.RxDescriptor, at *placing, line *clock.Line) int {
	return fastPlaceGo(data, index, descs, at, line, clock.Ticks)
}

func fastAppendCut(data []byte, index []Entry, frames []ring.Frame, keep []uint32, at *window, line *clock.Line) int {
	return fastAppendCutGo(data, index, frames, keep, at, line, clock.Ticks)
}

func fastAppendStamped(data []byte, index []Entry, frames []ring.Frame, stamps []clock.Stamp, keep []uint32, at *window) int {
	return fastAppendStampedGo(data, index, frames, stamps, keep, at)
}

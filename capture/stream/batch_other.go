//go:build !amd64

package stream

import (
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

func plain(data []byte, index []Entry, frames []ring.Frame, at *place, line *clock.Line) int {
	return plainGo(data, index, frames, at, line, clock.Ticks)
}

func stamped(data []byte, index []Entry, frames []ring.Frame, stamps []clock.Stamp, keep []uint32, at *place) int {
	return stampedGo(data, index, frames, stamps, keep, at)
}

package stream

import (
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// plain is plainGo in assembly: a third faster, because Go keeps nothing in
// registers across the calls that reading the counter and copying are. Frames of
// less than 32 bytes it leaves alone. It also asks for the frames to come, and
// for the lines that their records and entries will be written to; those hints
// may point anywhere.
//
//go:noescape
func plain(data []byte, index []Entry, frames []ring.Frame, at *place, line *clock.Line) int

// stamped is stampedGo in assembly, as plain is plainGo. Frames of which less
// than 32 bytes are kept it leaves alone.
//
//go:noescape
func stamped(data []byte, index []Entry, frames []ring.Frame, stamps []clock.Stamp, keep []uint32, at *place) int

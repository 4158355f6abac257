package pcapstore

import (
	"fmt"
	"time"
)

// every is how often the port's counters are read, at most.
const every = 100 * time.Millisecond

// watch notices losses: what the listener was too slow for, and what the port
// lost.
type watch struct {
	counters  func() Counters // nil: not known
	overtaken uint64          // packets, when looked last
	dropped   uint64          // by the port
	read      time.Time       // when its counters were
}

// said is a loss that is yet to be said with the next packet stored.
type said struct{ overtaken, dropped uint64 }

func (s *said) add(o said) {
	s.overtaken += o.overtaken
	s.dropped += o.dropped
}

func (s said) total() uint64 { return s.overtaken + s.dropped }

// String is what is said, "" if nothing was lost.
func (s said) String() string {
	const (
		overtaken = "%d lost before this one: stored too slowly"
		dropped   = "%d lost before this one, by the port, up to a second ago"
	)
	switch {
	case s.dropped == 0 && s.overtaken == 0:
		return ""
	case s.dropped == 0:
		return fmt.Sprintf(overtaken, s.overtaken)
	case s.overtaken == 0:
		return fmt.Sprintf(dropped, s.dropped)
	}
	return fmt.Sprintf(overtaken, s.overtaken) + "; " + fmt.Sprintf(dropped, s.dropped)
}

// begin starts from the counters as they are.
func (w *watch) begin(src source, counters func() Counters) {
	w.counters = counters
	w.overtaken = src.Stats().Overrun
	if counters != nil {
		w.dropped, w.read = counters().Dropped, time.Now()
	}
}

// look returns what was lost since the last look, before the batch just read.
func (w *watch) look(src source, now time.Time) (lost said) {
	// The listener counts what it missed before it hands out the packets behind.
	if n := src.Stats().Overrun; n > w.overtaken {
		lost.overtaken, w.overtaken = n-w.overtaken, n
	}
	if w.counters != nil && now.Sub(w.read) >= every {
		w.read = now
		if n := w.counters().Dropped; n > w.dropped {
			lost.dropped, w.dropped = n-w.dropped, n
		}
	}
	return lost
}

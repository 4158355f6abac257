package pcapstore

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/units"
)

// counterInterval is the least time between two readings of the port's counters.
const counterInterval = 100 * time.Millisecond

// loss is a number of packets lost before a packet.
type loss struct {
	overrun uint64 // the listener was too slow
	dropped uint64 // by the port
}

func (l *loss) add(o loss) {
	l.overrun += o.overrun
	l.dropped += o.dropped
}

func (l loss) total() uint64 { return l.overrun + l.dropped }

// String is the comment of the next packet, "" if nothing was lost.
func (l loss) String() string {
	const (
		overrun = "%s lost before this one: the storer was too slow"
		dropped = "%s lost before this one by the port, up to a second ago"
	)
	switch {
	case l.dropped == 0 && l.overrun == 0:
		return ""
	case l.dropped == 0:
		return fmt.Sprintf(overrun, units.Plural(l.overrun, "packet"))
	case l.overrun == 0:
		return fmt.Sprintf(dropped, units.Plural(l.dropped, "packet"))
	}
	return fmt.Sprintf(overrun, units.Plural(l.overrun, "packet")) + "; " + fmt.Sprintf(dropped, units.Plural(l.dropped, "packet"))
}

// lossWatch detects losses: of the listener and of the port.
type lossWatch struct {
	counters func() Counters // nil: not known
	seen     loss            // so far
	read     time.Time       // when counters was called
}

func newLossWatch(src source, counters func() Counters) *lossWatch {
	w := &lossWatch{counters: counters}
	w.seen.overrun = src.Stats().Overrun
	if counters != nil {
		w.seen.dropped, w.read = counters().Dropped, time.Now()
	}
	return w
}

// sample returns what was lost since the last call, before the batch just read.
func (w *lossWatch) sample(src source, now time.Time) (lost loss) {
	// The listener counts an overrun before it returns the packets after it.
	if n := src.Stats().Overrun; n > w.seen.overrun {
		lost.overrun, w.seen.overrun = n-w.seen.overrun, n
	}
	if w.counters != nil && now.Sub(w.read) >= counterInterval {
		w.read = now
		if n := w.counters().Dropped; n > w.seen.dropped {
			lost.dropped, w.seen.dropped = n-w.seen.dropped, n
		}
	}
	return lost
}

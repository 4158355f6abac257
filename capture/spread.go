package capture

import (
	"sync/atomic"

	"github.com/ixcap/ixcap/ring"
)

// Spreader is a Port that spreads frames over several queues by a hash of their flow.
type Spreader interface {
	// Spread says how the port spreads a frame. Pollers call it for a sample of their
	// frames, one of many batches; it does not allocate.
	Spread(f *ring.Frame) Spread
}

// Spread is how a port spreads a frame over its queues.
type Spread uint8

const (
	ByFlow         Spread = iota // all frames of its flow go to one queue, or it is of no flow
	Encapsulated                 // the port does not see the flow: all such frames go to queue 0
	FragmentOfFlow               // a fragment of UDP: it goes to another queue than whole datagrams of its flow

	spreads
)

// notices are what the log says once of each kind that is seen.
var notices = [spreads]string{
	Encapsulated:   "frames with two VLAN tags, MPLS or PPPoE arrive: the port does not spread them by flow, and queue 0 gets them all. --outer-vlan spreads those with two tags, if all frames have an outer one",
	FragmentOfFlow: "fragments of UDP arrive: the port sends them to another queue than whole datagrams of their flow, so that flow is in two streams. --rss tcp-ports keeps them together",
}

// spreadWatch looks at a sample of one poller's frames.
type spreadWatch struct {
	port Spreader
	seen [spreads]atomic.Bool
}

// newSpreadWatch returns nil for a port that has one queue, or does not spread by flow.
func newSpreadWatch(p Port, queues int) *spreadWatch {
	if s, ok := p.(Spreader); ok && queues > 1 {
		return &spreadWatch{port: s}
	}
	return nil
}

// sample looks at a frame.
func (w *spreadWatch) sample(f *ring.Frame) {
	if k := w.port.Spread(f); k != ByFlow && !w.seen[k].Load() {
		w.seen[k].Store(true)
	}
}

// reportSpread logs what pollers have seen of frames that are not spread by flow, each
// kind once.
func (e *Engine) reportSpread() {
	for k := ByFlow + 1; k < spreads; k++ {
		for _, p := range e.pollers {
			if w := p.config.Spread; w != nil && w.seen[k].Load() && !e.unspread[k] {
				e.unspread[k] = true
				e.cfg.Logger.Warn(e.port.Name() + ": " + notices[k])
			}
		}
	}
}

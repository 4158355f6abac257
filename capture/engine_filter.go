package capture

import (
	"errors"
	"fmt"

	"github.com/ixcap/ixcap/capture/rules"
)

// AllQueues stands for every queue of an engine.
const AllQueues = -1

// SetFilter changes what is kept of which frames of a queue, or of AllQueues; nil
// rules keep everything. It may be called while capturing, and takes effect at the
// next batch of each queue: every frame is judged by the rules from before or by
// these, and none is lost.
func (e *Engine) SetFilter(queue int, r *rules.Rules) error {
	first, last := queue, queue
	switch {
	case queue == AllQueues:
		first, last = 0, len(e.pollers)-1
	case queue < 0 || queue >= len(e.pollers):
		return fmt.Errorf("set filter of queue %d: the capture has queues 0 to %d", queue, len(e.pollers)-1)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == stopping {
		return errors.New("set filter: the capture is over")
	}
	for q := first; q <= last; q++ {
		// Release: pairs with the load in poller.once.
		e.pollers[q].wanted.Store(newRuleSet(r))
	}
	return nil
}

// Filter is the rules of a queue as they were set last, nil for none.
func (e *Engine) Filter(queue int) *rules.Rules { return e.pollers[queue].wanted.Load().rules }

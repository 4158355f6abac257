package capture

import (
	"fmt"
	"os"

	"github.com/ixcap/ixcap/capture/rules"
)

// SetRules changes the rules of a queue, or of AllQueues; nil keeps every frame
// whole. It may be called during the capture and takes effect at each queue's next
// batch: every frame meets either the old rules or the new ones, and none is lost.
// After Stop the error wraps os.ErrClosed.
func (e *Engine) SetRules(queue int, r *rules.Rules) error {
	first, last := queue, queue
	switch {
	case queue == AllQueues:
		first, last = 0, len(e.pollers)-1
	case queue < 0 || queue >= len(e.pollers):
		return fmt.Errorf("set rules of queue %d: the capture has queues 0 to %d", queue, len(e.pollers)-1)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == stopping {
		return fmt.Errorf("set filter: the capture is over: %w", os.ErrClosed)
	}
	for q := first; q <= last; q++ {
		// R1: release, pairs with A1 in poller.poll.
		e.pollers[q].requested.Store(newRuleSet(r))
		e.pollers[q].wake()
	}
	return nil
}

// Rules returns the rules of a queue as last set, nil for none.
func (e *Engine) Rules(queue int) *rules.Rules { return e.pollers[queue].requested.Load().rules }

package capture

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A thread under SCHED_FIFO that never pauses can keep everything else from
// running, the goroutine that would end the capture included: where the model's
// thread or a listener has the same policy on the other cores, or where the
// kernel finds nobody else's core to put the rest on. So an ordinary goroutine
// beats, and a poller that does not see it beat gives the policy up.
//
//	engine: beat ─► counter ─► poller (look): stands still for starvedAfter ─► SCHED_OTHER

const (
	beatEvery    = 100 * time.Millisecond
	starvedAfter = 2 * time.Second
)

// watchdog is the poller's side of it.
type watchdog struct {
	beat  *atomic.Uint64 // nil: none
	after time.Duration

	seen uint64
	at   uint64      // ticks when it changed
	bit  atomic.Bool // the policy was given up
	told bool        // only the engine's watcher touches it
}

// beat counts up as long as there is time for ordinary goroutines.
func (e *Engine) beat() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.watcher:
			return
		case <-tick.C:
			e.beats.Add(1)
		}
	}
}

// guard gives the thread's policy up when everybody else starves. Only a thread
// that has SCHED_FIFO calls it.
func (p *poller) guard() {
	d := &p.dog
	if d.beat == nil {
		return
	}
	n := d.beat.Load()
	if n != d.seen || d.at == 0 {
		d.seen, d.at = n, p.lastPoll
		return
	}
	if p.stamper.Nanoseconds(p.lastPoll-d.at) < uint64(d.after) {
		return
	}
	d.at = p.lastPoll // should it fail, in a while again
	if unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_NORMAL}, 0) == nil {
		p.stalls.fifo = false
		d.bit.Store(true)
	}
}

// givenUp tells of pollers that gave up SCHED_FIFO, once of each.
func givenUp(l *slog.Logger, pollers []*poller) {
	for q, p := range pollers {
		if !p.dog.bit.Load() || p.dog.told {
			continue
		}
		p.dog.told = true
		l.Warn(fmt.Sprintf("queue %d's poller gave SCHED_FIFO up: nothing else of this program had run for %v. Leave a core to the rest that no real-time thread takes (-cores), or do without -fifo", q, p.dog.after))
	}
}

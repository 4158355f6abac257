package daemon

import (
	"context"
	"os"
	"time"

	"github.com/ixcap/ixcap/capture/units"
)

// awaitListeners waits until every queue has the listeners of other processes that the
// settings demand, ctx is done or the device is gone. The port is not started yet, so
// these listeners get its first frame.
func (p *port) awaitListeners(ctx context.Context) {
	if p.listeners == 0 {
		return
	}
	p.waiting.Store(true)
	defer p.waiting.Store(false)
	text := units.Plural(p.listeners, "listener") + " of other programs"
	if p.engine.Queues() > 1 {
		text += " at each queue"
	}
	p.log.Info("waiting for " + text)
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for p.attached() < p.listeners {
		select {
		case <-ctx.Done():
			p.log.Info("not started: the capture ended before " + text + " had attached")
			return
		case <-p.device.Gone():
			return // the start returns the error
		case <-tick.C:
		}
	}
	p.log.Info("starting: " + text + " attached")
}

// attached is the number of attached listeners of other processes of the queue that has
// fewest.
func (p *port) attached() int {
	fewest, own := p.listeners, os.Getpid()
	for q := range p.engine.Queues() {
		others := 0
		for _, l := range p.engine.Stream(q).Stats().Listeners {
			if l.PID != own {
				others++
			}
		}
		fewest = min(fewest, others)
	}
	return fewest
}

// awaited is how many listeners the port waits for and how many of these are attached,
// 0 once it does not wait.
func (p *port) awaited() (attached, awaited int) {
	if !p.waiting.Load() {
		return 0, 0
	}
	return p.attached(), p.listeners
}

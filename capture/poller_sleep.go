package capture

import (
	"fmt"
	"time"
)

// sleepLimit bounds each sleep. It is not what a frame waits for, which wakes the
// poller by itself, but what it would wait for if that went wrong, and a listener
// that has asked for an aligned start.
const sleepLimit = 50 * time.Millisecond

// sleepers are the sources as Sleepers, or the reason why they are not.
func sleepers(port Port, sources []Source) ([]Sleeper, error) {
	all := make([]Sleeper, len(sources))
	for i, src := range sources {
		s, ok := src.(Sleeper)
		if !ok || !s.CanSleep() {
			return nil, fmt.Errorf("capture on %s: queue %d has no interrupt to wake a poller that sleeps. Open the port with queue interrupts, or do not use IdleSleep", port.Name(), i)
		}
		all[i] = s
	}
	return all, nil
}

// sleep passes the time until something arrives, if the source thinks it worth it.
func (p *poller) sleep() {
	began := p.stamper.Ticks()
	if !p.sleeper.Sleep(sleepLimit) {
		return
	}
	now := p.stamper.Ticks()
	p.sleeps++
	p.slept += p.stamper.Nanoseconds(now - began)
	// Nothing had to be held meanwhile: it is no gap between polls.
	p.lastPoll = now
	// The queue was empty until shortly before now, not only when it was polled.
	p.emptied = 0
	p.flush()
}

// rouse makes a sleeping poller look at stopping.
func (p *poller) rouse() {
	if p.sleeper != nil {
		p.sleeper.Wake()
	}
}

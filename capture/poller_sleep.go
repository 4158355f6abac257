package capture

import (
	"cmp"
	"fmt"
	"time"
)

// sleepLimit is the longest sleep unless Limits.Sleep is set. Frames and requests to the
// stream wake the poller earlier.
const sleepLimit = time.Second

// sleepers returns the sources as Sleepers, or an error if one cannot sleep.
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

// sleep blocks until a frame may have arrived. The source may decide to return at
// once.
func (p *poller) sleep() {
	p.producer.Notify()
	began := p.stamper.Ticks()
	if !p.sleeper.Sleep(cmp.Or(p.config.Limits.Sleep, sleepLimit)) {
		return
	}
	now := p.stamper.Ticks()
	p.sleeps++
	p.slept += p.stamper.Nanoseconds(now - began)
	// A sleep is no gap between polls: frames end it.
	p.lastPoll = now
	// The queue was empty until shortly before now, not only at the last poll.
	p.emptied = 0
	p.arrivals.clear = began
	p.publish()
}

// wake makes a sleeping poller read p.stopping.
func (p *poller) wake() {
	if p.sleeper != nil {
		p.sleeper.Wake()
	}
}

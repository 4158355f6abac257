package capture

import (
	"fmt"
	"time"
)

// Sleeper is a Source that can wait for frames without a core. driver.RxQueue is one.
type Sleeper interface {
	Source

	// CanSleep tells whether Sleep can be used.
	CanSleep() bool

	// Sleep is called when Poll gave nothing. It sleeps until there may be
	// something, Wake is called, or limit has passed, and tells whether it slept:
	// a Source under load may find that polling is better. It blocks the calling
	// thread and does not allocate.
	Sleep(limit time.Duration) bool

	// Wake ends the Sleep under way, or the next one, at once. Any goroutine may call it.
	Wake()
}

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
			return nil, fmt.Errorf("capture on %s: queue %d cannot wake a poller that sleeps: open the port with the interrupts of its queues (nic.Config.Interrupts = driver.QueueInterrupts)", port.Name(), i)
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

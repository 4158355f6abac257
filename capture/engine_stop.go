package capture

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/ring"
)

// Stop ends the capture in order: the port receives no more, pollers take what
// is in the rings, streams end. Listeners read what is left and then get io.EOF.
// Stopping again waits for the first Stop and returns the same.
func (e *Engine) Stop() error {
	e.mu.Lock()
	first := e.state != stopping
	ran := e.state == started
	e.state = stopping
	e.mu.Unlock()
	if !first {
		<-e.stopped
		return e.stopErr
	}
	defer close(e.stopped)
	var errs []error
	if !ran {
		for _, s := range e.streams {
			s.Producer().Finish()
		}
		return nil
	}
	unstoppable := false
	if s, ok := e.port.(Stopper); ok {
		if err := s.Stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop capture on %s: %w", e.port.Name(), err))
			select {
			case <-e.port.Gone():
			default:
				unstoppable = true // frames may come on and on, and no poll give nothing
			}
		}
		if !unstoppable {
			e.settle()
		}
	}
	for _, p := range e.pollers {
		if unstoppable {
			p.stop()
		} else {
			p.drain()
		}
	}
	errs = append(errs, e.join(unstoppable))
	close(e.watcher)
	e.watched.Wait()
	e.mu.Lock()
	e.ended = time.Now()
	if e.failure != nil {
		errs = append(errs, fmt.Errorf("capture on %s: %w", e.port.Name(), e.failure))
	}
	e.mu.Unlock()
	a, _ := e.read() // Ledger tells when this failed
	e.warner.stalled(e.pollers, e.streams, sum(a.Missed), time.Now(), true)
	e.stopErr = errors.Join(errs...)
	return e.stopErr
}

// join waits for the pollers, for as long as those that are held back get
// anywhere, and lets go listeners of other processes that keep them from it. What
// pollers then leave in the rings it takes out of them; left says that they were
// told to.
func (e *Engine) join(left bool) error {
	all := make(chan struct{})
	go func() {
		e.running.Wait()
		close(all)
	}()
	tick := time.NewTicker(max(e.cfg.StallTimeout/50, time.Millisecond))
	defer tick.Stop()
	var err error
	var stand standstill
wait:
	for {
		select {
		case <-all:
			break wait
		case <-tick.C:
		}
		if stand.look(e, 0, time.Now()) <= e.cfg.StallTimeout || err != nil || stand.release(e) {
			continue
		}
		err = fmt.Errorf("stop capture on %s: a lossless listener read nothing for %v; frames were abandoned", e.port.Name(), e.cfg.StallTimeout)
		for _, p := range e.pollers {
			p.stop()
		}
	}
	e.mu.Lock()
	left = left || err != nil || e.failure != nil
	e.mu.Unlock()
	if left {
		e.abandon()
	}
	return err
}

// settle waits until the frames that a stopped port has taken are in the rings,
// so that an empty poll means an empty queue. While a listener holds a poller
// back they cannot get there; one of another process is let go for that.
func (e *Engine) settle() {
	const glimpse, enough = time.Millisecond, 500 * time.Millisecond // a device in software may want for a core
	for stand := (standstill{}); ; time.Sleep(glimpse) {
		a, err := e.read()
		if err != nil || a.Wire == a.Received+sum(a.Missed)+sum(a.Bad) {
			return
		}
		select {
		case <-e.failed:
			return
		default:
		}
		idle := stand.look(e, a.Received, time.Now())
		switch held := e.polled() < a.Received; {
		case held && idle > e.cfg.StallTimeout && !stand.release(e), !held && idle > enough:
			return // join, or the ledger, will tell
		}
	}
}

// abandon takes out of the rings what pollers that were stopped have left there.
func (e *Engine) abandon() {
	frames := make([]ring.Frame, defaultBatch)
	// The device has still to move what is in its packet buffer; a port that
	// cannot be stopped goes on and on.
	for end := time.Now().Add(max(e.cfg.StallTimeout, defaultStallTimeout)); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for q, src := range e.sources {
			for n := -1; n != 0 && time.Now().Before(end); {
				n = src.Poll(frames)
				src.Release()
				e.mu.Lock()
				e.abandoned[q] += uint64(n)
				e.mu.Unlock()
			}
		}
		a, err := e.read()
		if err != nil || e.polled() == a.Received && a.Wire == a.Received+sum(a.Missed)+sum(a.Bad) {
			return
		}
	}
}

// polled is the number of frames taken from all queues.
func (e *Engine) polled() (n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for q, p := range e.pollers {
		n += p.counters().Frames + e.abandoned[q]
	}
	return n
}

// progress is a number that grows while pollers get on.
func (e *Engine) progress() (n uint64) {
	for i, s := range e.streams {
		n += s.Stats().Bytes + e.pollers[i].counters().Frames
	}
	return n
}

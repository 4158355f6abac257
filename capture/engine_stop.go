package capture

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ixcap/ixcap/ring"
)

// Stop ends the capture in order: the port stops reception, pollers drain the
// rings, streams end. Listeners read the remaining frames, then io.EOF. A further
// Stop waits for the first one and returns the same error.
func (e *Engine) Stop() error {
	e.mu.Lock()
	first, ran := e.state != stopping, e.state == started
	e.state = stopping
	e.mu.Unlock()
	if !first {
		<-e.stopped
		return e.stopErr
	}
	defer close(e.stopped)
	if !ran {
		for _, s := range e.streams {
			s.Producer().Finish()
		}
		return nil
	}
	var errs []error
	stopErr, drainable := e.stopPort()
	errs = append(errs, stopErr)
	for _, p := range e.pollers {
		if drainable {
			p.drain()
		} else {
			p.stop()
		}
	}
	errs = append(errs, e.join(!drainable))
	close(e.quit)
	e.background.Wait()
	e.mu.Lock()
	e.ended = time.Now()
	if e.failure != nil {
		errs = append(errs, fmt.Errorf("capture on %s: %w", e.port.Name(), e.failure))
	}
	e.mu.Unlock()
	_, _ = e.read() // Ledger returns the error
	e.report(e.countLeft(), true)
	e.warnMissedByDedup()
	e.stopErr = errors.Join(errs...)
	return e.stopErr
}

// stopPort stops reception, if the port can, and waits until accepted frames are in
// the rings. The queues are not drainable if a device that is still there could
// not be stopped: frames may continue to arrive, and no poll returns empty.
func (e *Engine) stopPort() (err error, drainable bool) {
	s, ok := e.port.(Stopper)
	if !ok {
		return nil, true
	}
	if err = s.Stop(); err != nil {
		err = fmt.Errorf("stop capture on %s: %w", e.port.Name(), err)
		select {
		case <-e.port.Gone():
		default:
			return err, false
		}
	}
	return errors.Join(err, e.waitForRings()), true
}

// join waits for the pollers as long as they make progress, and detaches clients
// that prevent it. If pollers were stopped (abandon) or have to be, it removes the
// remaining frames from the rings.
func (e *Engine) join(abandon bool) error {
	all := make(chan struct{})
	go func() {
		e.running.Wait()
		close(all)
	}()
	tick := time.NewTicker(max(e.cfg.StallTimeout/50, time.Millisecond))
	defer tick.Stop()
	var err error
	var stall stallDetector
wait:
	for {
		select {
		case <-all:
			break wait
		case <-tick.C:
		}
		if stall.observe(e, 0, time.Now()) <= e.cfg.StallTimeout || err != nil || stall.detach(e) {
			continue
		}
		err = e.stallError("frames were abandoned")
		for _, p := range e.pollers {
			p.stop()
		}
	}
	e.mu.Lock()
	abandon = abandon || err != nil || e.failure != nil || e.leftDry()
	e.mu.Unlock()
	if abandon {
		e.abandon()
	}
	return err
}

// waitForRings waits until the frames that a stopped port has accepted are in the
// rings, so that an empty poll means an empty queue. While a listener blocks a
// poller they cannot get there; one of another process is detached. It is an error if one
// of this process holds all buffers of a pool: the rest stays in the port.
func (e *Engine) waitForRings() error {
	const interval, enough = time.Millisecond, 500 * time.Millisecond // a device in software may have to wait for a core
	for stall := (stallDetector{}); ; time.Sleep(interval) {
		a, err := e.read()
		if err != nil || a.complete() {
			return nil
		}
		select {
		case <-e.failed:
			return nil
		default:
		}
		idle, dry := stall.observe(e, a.Received, time.Now()), e.dry()
		switch blocked := dry || e.polled() < a.Received; {
		case blocked && idle > e.cfg.StallTimeout && !stall.detach(e):
			if dry {
				return e.stallError("frames were left in the port")
			}
			return nil // join reports it
		case !blocked && idle > enough:
			return nil // unbalances the ledger
		}
	}
}

// stallError says that a listener of this process has kept a queue from being drained.
func (e *Engine) stallError(what string) error {
	return fmt.Errorf("stop capture on %s: a lossless listener read nothing for %v; %s", e.port.Name(), e.cfg.StallTimeout, what)
}

// dry reports whether a listener holds all buffers of a pool.
func (e *Engine) dry() bool {
	return slices.ContainsFunc(e.pollers, func(p *poller) bool { return p.dry.Load() })
}

// leftDry is dry once the pollers have ended.
func (e *Engine) leftDry() bool {
	return slices.ContainsFunc(e.pollers, func(p *poller) bool { return p.pooled != nil && p.pooled.Dry() })
}

// left is the cause of a loss: the frames were in the port when the capture ended, whose
// pools had no buffer for them.
const left = "left in the port at the end"

// countLeft adds the frames that a stopped port keeps, because listeners hold all buffers
// of a pool, to the account, and returns it.
func (e *Engine) countLeft() Account {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := &e.account
	if n := a.Received + a.Filtered + sum(a.Missed) + sum(a.Bad); e.accountErr == nil && e.leftDry() && a.Wire > n {
		a.Missed = append(a.Missed[:len(a.Missed):len(a.Missed)], Count{Cause: left, Frames: a.Wire - n})
		for _, s := range e.streams {
			s.SetMissed(sum(a.Missed))
		}
	}
	return *a
}

// complete reports whether every frame that reached the port is accounted for.
func (a *Account) complete() bool { return a.Wire == a.Received+a.Filtered+sum(a.Missed)+sum(a.Bad) }

// abandon removes the frames that stopped pollers left in the rings, and counts
// them.
func (e *Engine) abandon() {
	frames := make([]ring.Frame, defaultBatch)
	// The device still moves frames out of its packet buffer, and a port that
	// cannot be stopped receives more.
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
		if err != nil || e.polled() == a.Received && (a.complete() || e.leftDry()) {
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

// progress is a number that grows while pollers store frames.
func (e *Engine) progress() (n uint64) {
	for i, s := range e.streams {
		n += s.Stats().Bytes + e.pollers[i].counters().Frames
	}
	return n
}

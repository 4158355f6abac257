package driver

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// A virtual function whose queues the physical one has stopped begins anew under the
// queues in use:
//
//	RSTI or RSTD, or a message without CTS ──► revoked: the link is down, counters rest
//	RSTI is clear: reset, mailbox, registers   (every linkInterval until it succeeds)
//	asked ──► parked ──► enabled ──► running   (recover.go)
//
// Frames in memory are polled before. Those that arrive in between are counted nowhere.

// virtualRestart is the state of a reset by the physical function. Its fields belong to
// the watcher, under Port.state.
type virtualRestart struct {
	pending bool // not finished
	began   time.Time
	report  string // the last error that was reported
	counted uint64 // frames received by the counters, when they were read again
}

// givesWay reports whether a reset that waits for the physical function has to end,
// because Start, Stop, Close or the like waits for the port.
func (p *Port) givesWay() bool {
	return p.virtual.revoked.Load() && (p.wanted.Load() > 0 || p.quitting())
}

// serveVirtual handles the mailbox of a virtual function: the physical function's
// reset, and its messages.
func (w *watcher) serveVirtual() {
	p := w.p
	if p.state.TryLock() { // else Start, Stop or Close is under way: next time
		var events []Event
		if !p.closed {
			events = p.readRevocation()
		}
		p.state.Unlock() // Config.OnEvent may call Start or Stop
		w.emitAll(events)
	}
	w.checkLink()
	if p.state.TryLock() {
		var events []Event
		if !p.closed {
			events = p.restore()
		}
		p.state.Unlock()
		w.emitAll(events)
	}
	w.checkLink()
	if p.irq != nil {
		p.store(reg.VTEIMS, 1<<p.irq.other)
	}
}

func (w *watcher) emitAll(events []Event) {
	for _, e := range events {
		w.emit(e.Kind, e.Text)
	}
}

// readRevocation looks whether the physical function has reset this one. p.state is held.
func (p *Port) readRevocation() []Event {
	v := p.mailbox()
	if v == ^uint32(0) || p.virtual.revoked.Load() {
		return nil // the device is gone; or it is known
	}
	why := ""
	if reg.VFMAILBOX_RSTI.Of(v) != 0 || reg.VFMAILBOX_RSTD.Of(v) != 0 {
		p.handled(reg.VFMAILBOX_RSTD)
		why = "the physical function was reset"
	} else if reg.VFMAILBOX_PFSTS.Of(v) != 0 {
		m, err := p.readVirtualMail()
		if err == nil && m.request() == mailControl && m[0]&mailCTS == 0 {
			why = "the physical function has reset this function"
		}
	}
	if why == "" {
		return nil
	}
	p.stats.mu.Lock()
	_ = p.updateVirtual()
	p.virtual.frozen = true
	p.stats.mu.Unlock()
	p.virtual.revoked.Store(true)
	p.phase = restartNone
	r := &p.virtual.restart
	if r.pending {
		return nil // again, before the end of the last one
	}
	*r = virtualRestart{pending: true, began: time.Now()}
	return []Event{{Kind: FunctionReset, Text: why + ": no frames arrive until it answers"}}
}

// restore ends a reset as far as it can be ended now. p.state is held.
func (p *Port) restore() []Event {
	r := &p.virtual.restart
	if !r.pending {
		_ = p.resumeTransmit() // a queue that does not start is asked again
		return nil
	}
	var err error
	if p.virtual.revoked.Load() {
		if reg.VFMAILBOX_RSTI.Of(p.mailbox()) != 0 {
			return nil
		}
		err = p.restoreFunction()
	}
	if err == nil {
		err = p.resume()
	}
	var unanswered *WaitError
	switch {
	case p.err() != nil || errors.Is(err, errUnanswered):
		return nil
	case err != nil:
		p.virtual.revoked.Store(true) // from the beginning
		if errors.As(err, &unanswered) || errors.Is(err, errNotReady) || err.Error() == r.report {
			return nil // the next attempt may succeed, or the error is known
		}
		r.report = err.Error()
		return []Event{{Kind: FunctionReset, Text: fmt.Sprintf("the function cannot start again: %v. It tries again every %v", err, p.cfg.checkInterval)}}
	}
	r.pending = false
	return []Event{{Kind: Recovered, Text: fmt.Sprintf("the function has started again after %v; frames in memory are kept, those that arrived in between are counted nowhere",
		time.Since(r.began).Round(time.Millisecond))}}
}

// restoreFunction resets the function and programs it again over the memory of the
// queues, which their readers then have to take over (resume).
func (p *Port) restoreFunction() error {
	for _, q := range p.tx {
		q.restart.head = ringUnknown
		q.restart.state.Store(restartAsked)
	}
	if err := p.run([]step{
		{"disable interrupts", p.disableInterrupts},
		{"reset", p.resetVirtual},
		{"negotiate with the physical function", p.negotiate},
		{"initialise receive", p.initVirtualReceive},
		{"initialise transmit", p.initVirtualTransmit},
	}); err != nil {
		return err
	}
	if p.irq != nil {
		p.routeVirtual()
	}
	p.virtual.revoked.Store(false)
	if p.started {
		p.phase = restartAsked
		p.askReaders(restartAsked)
	} else {
		p.resumeVirtualCounters()
	}
	return nil
}

// resumeVirtualCounters reads the counters again, before the queues have descriptors: a
// reset of the port may have cleared them.
func (p *Port) resumeVirtualCounters() {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	v := p.virtual
	v.last, v.frozen = p.readVirtual(), false
	v.restart.counted = v.total.received
}

// correctVirtualCounters replaces the frames that the counters had before the reset by
// those that were polled: the last reading is older than the reset, and a frame that was
// not written to its end is lost.
func (p *Port) correctVirtualCounters() {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	v := p.virtual
	var polled uint64
	for _, q := range p.rx {
		polled += q.restart.frames
	}
	if v.restart.counted > polled {
		v.lost += v.restart.counted - polled
	}
	v.total.received += polled - v.restart.counted
}

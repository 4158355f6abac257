package capture

import (
	"context"
	"errors"
	"time"
)

// Run captures until the wire ends, ctx is done (which is no error) or the capture
// fails. Then it stops the engine, waits for the listeners and returns the ledger,
// which is valid with any error. A second Run, or one after Start, returns an error at
// once and stops nothing:
//
//	Start ─► Wait ─► Stop ─► listeners read what is left ─► Ledger
//
// linger is how long it waits while a listener has unread frames and none of the
// listeners reads; 0: not at all. The caller closes the engine.
func (e *Engine) Run(ctx context.Context, linger time.Duration) (Ledger, error) {
	err := e.Start()
	if errors.Is(err, errStarted) || errors.Is(err, errStopped) {
		l, _ := e.Ledger()
		return l, err // a first Run may still wait for the listeners
	}
	if err == nil {
		if err = e.Wait(ctx); ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = nil
		}
	}
	if stopped := e.Stop(); err == nil {
		err = stopped // after another error it repeats that
	}
	e.linger(linger)
	l, lerr := e.Ledger()
	if err == nil {
		err = lerr
	}
	return l, err
}

// linger waits until no listener has unread frames, or none has read any for
// timeout.
func (e *Engine) linger(timeout time.Duration) {
	const shortest, longest = time.Millisecond, 20 * time.Millisecond
	read, at := uint64(0), time.Now()
	for wait := shortest; timeout > 0; wait = min(2*wait, longest) {
		unread, now := false, uint64(0)
		for _, stream := range e.streams {
			s := stream.Stats()
			now += s.DetachedTotal // a detached listener is progress, too
			for _, l := range s.Listeners {
				unread = unread || l.Unread != 0
				now += l.Read + l.Overrun + l.Skipped + l.Handed
			}
		}
		if now != read {
			read, at = now, time.Now()
		}
		if !unread || time.Since(at) >= timeout {
			return
		}
		time.Sleep(wait)
	}
}

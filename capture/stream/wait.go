package stream

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"
)

const (
	spins    = 32                     // looks before the first nap
	firstNap = 5 * time.Microsecond   // doubled each time
	lastNap  = 200 * time.Microsecond // the longest: what it can take to notice a frame
)

// pause lets others run between two looks at a shared word.
func pause() { runtime.Gosched() }

// waiter is one wait for the producer: it looks often at first, then seldom, and
// costs the producer nothing.
type waiter struct {
	looks int
	nap   time.Duration
}

// ready is how every reading call begins: the listener is still attached, reads
// as it is to, and has its place.
func (l *Listener) ready(ctx context.Context) error {
	if err := l.detached(); err != nil {
		return err
	}
	if err := l.renew(); err != nil {
		return err
	}
	if l.searching {
		return l.awaitStart(ctx)
	}
	return nil
}

// over says why nothing more will be published, nil while it may: io.EOF when
// the stream is finished, ErrAbandoned when the process that captured is gone.
// Asked for before Head and Segments, which are final then.
func (l *Listener) over() error {
	lost := l.tie.lost()
	if l.cur.Finished.Load() != 0 {
		return io.EOF
	}
	if lost {
		return ErrAbandoned
	}
	return nil
}

// wait passes some time, or says why there is no point in it; over is one
// reason, if nothing better is known.
func (l *Listener) wait(ctx context.Context, w *waiter, over error) error {
	if err := l.gone(ctx); err != nil {
		return err
	}
	if over != nil {
		return over
	}
	if err := l.renew(); err != nil {
		return err
	}
	if w.looks < spins {
		w.looks++
		pause()
		return nil
	}
	w.nap = min(max(2*w.nap, firstNap), lastNap)
	time.Sleep(w.nap)
	return nil
}

// gone says why reading cannot go on.
func (l *Listener) gone(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.detached()
}

// detached tells whether the listener is still open and attached. Once the
// stream is finished nothing is overwritten any more, so one that had been let go
// reads what is left all the same.
func (l *Listener) detached() error {
	if l.closed.Load() {
		return ErrClosed
	}
	if l.cur.Slots[l.number].Load() == l.id {
		return nil
	}
	if l.cur.Finished.Load() != 0 && !l.overtaken(l.given) {
		return nil
	}
	if why := l.tie.why(); why != "" {
		return fmt.Errorf("%w: %s", ErrDetached, why)
	}
	return ErrDetached
}

// awaitStart waits for the segment that an aligned listener begins with.
func (l *Listener) awaitStart(ctx context.Context) error {
	for w := (waiter{}); l.searching; {
		// Before looking: all starts there will ever be are visible when it is set.
		over := l.over()
		if l.findStart() {
			return nil
		}
		if err := l.wait(ctx, &w, over); err != nil {
			return err
		}
	}
	return nil
}

// findStart looks for the first segment start that is published and not before
// the listener's place, and moves there. If there is none yet, the listener moves
// to the end of what is published: what lies before the start is not for it, and
// the producer may need the room to close the segment.
func (l *Listener) findStart() bool {
	first, found := l.firstStart(l.given)
	l.searching = !found
	l.startAt, l.given, l.ahead = first, first, first
	l.visible = first.seq
	l.blocks.reset(first.seq)
	l.publish()
	return found
}

// skip moves a lossy listener out of the producer's way, half a buffer ahead,
// and counts what it misses. All that was handed out has been given back. False:
// the producer was faster, try again.
func (l *Listener) skip() bool {
	to := l.oldest((l.mask + 1) / 2)
	for range 100 {
		if !l.overtaken(to) {
			break
		}
		pause()
		to = l.oldest((l.mask + 1) / 2)
	}
	l.miss(to)
	return !l.overtaken(to)
}

// miss counts everything from given up to a position as overtaken.
func (l *Listener) miss(to position) {
	l.missed += to.seq - l.given.seq
	l.missBytes += to.offset - l.given.offset
	l.given, l.ahead = to, to
	l.blocks.reset(to.seq)
	l.visible = max(l.visible, to.seq)
	l.publish()
}

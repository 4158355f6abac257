package stream

import (
	"context"
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

// wait passes some time, or says why there is no point in it.
func (l *Listener) wait(ctx context.Context, w *waiter) error {
	if err := l.gone(ctx); err != nil {
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
	if l.closed.Load() {
		return ErrClosed
	}
	if l.cur.Slots[l.number].Load() != l.generation {
		return ErrDetached
	}
	return nil
}

// awaitStart waits for the segment that an aligned listener begins with.
func (l *Listener) awaitStart(ctx context.Context) error {
	for w := (waiter{}); l.searching; {
		// Before looking: all starts there will ever be are visible when it is set.
		finished := l.cur.Finished.Load() != 0
		if l.findStart() {
			return nil
		}
		if finished {
			return io.EOF
		}
		if err := l.wait(ctx, &w); err != nil {
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
	now := l.newest()
	head := now.offset
	n := l.cur.Segments.Load() // acquire: the starts it counts are visible
	first, found := position{}, false
	for i := n; i > 0 && n-i+1 < uint64(len(l.starts)); i-- {
		st := &l.starts[(i-1)&uint64(len(l.starts)-1)]
		at := position{st.Offset.Load(), st.Seq.Load()}
		if at.offset < l.given.offset {
			break
		}
		if at.offset <= head {
			first, found = at, true
		}
	}
	if !found {
		first = now
	}
	l.searching = !found
	l.startAt, l.given, l.ahead = first, first, first
	l.visible = first.seq
	l.blocks.reset(first.seq)
	l.publish()
	return found
}

// skip moves a lossy listener out of the producer's way, half a buffer ahead,
// and counts what it misses. All that was handed out has been given back.
func (l *Listener) skip() {
	to := l.oldest((l.mask + 1) / 2)
	for l.overtaken(to) {
		pause()
		to = l.oldest((l.mask + 1) / 2)
	}
	l.miss(to)
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

package stream

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"time"
)

const (
	spins    = 32                     // polls before the first sleep
	minSleep = 5 * time.Microsecond   // doubled each time
	maxSleep = 200 * time.Microsecond // the longest delay until a frame is seen

	maxBlockSleep = 40 * time.Millisecond // until a block is
	frameTime     = 67 * time.Nanosecond  // of the smallest frame at 10 Gb/s
)

// pause yields between two loads of a shared word.
func pause() { runtime.Gosched() }

// waiter is one wait for the producer. It polls often at first, then rarely; the
// producer has no part in it.
type waiter struct {
	polls int
	sleep time.Duration
	most  time.Duration // 0: maxSleep
}

// blockWaiter is a wait for a block. Its reader does not need it at once, and every wake-up
// costs some microseconds, so it sleeps longer, and at once; but it releases the index
// entries, or the buffers of a pool, of which at most half may fill up while it sleeps.
func (l *Listener) blockWaiter() waiter {
	frames := uint64(len(l.index))
	if l.pool.stride != 0 {
		frames = min(frames, l.pool.buffers)
	}
	most := min(max(time.Duration(frames/2)*frameTime, maxSleep), maxBlockSleep)
	return waiter{polls: spins, sleep: most / 4, most: most}
}

// prepare begins every reading call: it checks that the listener is attached,
// applies its policy and waits for its aligned start.
func (l *Listener) prepare(ctx context.Context) error {
	if err := l.checkAttached(); err != nil {
		return err
	}
	if err := l.updatePolicy(); err != nil {
		return err
	}
	if l.searching {
		return l.awaitStart(ctx)
	}
	return nil
}

// endOfStream returns io.EOF if the stream is finished, ErrAbandoned if the
// capture's process has ended without that, else nil. A4: it is called before Head
// and Segments are loaded, which are final if it returns an error. Pairs with R4 in
// Finish.
func (l *Listener) endOfStream() error {
	gone := l.link.producerGone()
	if l.cur.Finished.Load() != 0 {
		return io.EOF
	}
	if gone {
		return ErrAbandoned
	}
	return nil
}

// wait yields or sleeps, or returns the reason not to: see checkWait.
func (l *Listener) wait(ctx context.Context, w *waiter, ended error) error {
	if err := l.checkWait(ctx, ended); err != nil {
		return err
	}
	w.wait()
	return nil
}

// checkWait returns why not to wait: that the listener cannot read on, or else the end of
// the stream that the caller has found, or that the call does not wait.
func (l *Listener) checkWait(ctx context.Context, ended error) error {
	if err := l.checkOpen(ctx); err != nil {
		return err
	}
	if ended != nil {
		return ended
	}
	if err := l.updatePolicy(); err != nil {
		return err
	}
	if l.noWait {
		return errNothingYet
	}
	return nil
}

func (w *waiter) wait() {
	if w.polls < spins {
		w.polls++
		pause()
		return
	}
	w.sleep = min(max(2*w.sleep, minSleep), cmp.Or(w.most, maxSleep))
	time.Sleep(w.sleep)
}

// checkOpen returns an error if ctx is done or the listener is not attached.
func (l *Listener) checkOpen(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.checkAttached()
}

// checkAttached returns an error unless the listener is open and attached. Once the
// stream is finished nothing is overwritten any more, so a detached listener reads
// what is left.
func (l *Listener) checkAttached() error {
	if l.closed.Load() {
		return ErrClosed
	}
	if l.cur.Slots[l.slot].Load() == l.id {
		return nil
	}
	readOn := l.member == nil || l.attachedMember() // what another member leaves goes to others
	if readOn && l.cur.Finished.Load() != 0 && !l.overwritten(l.kept()) {
		return nil
	}
	if reason := l.link.reason(); reason != "" {
		return fmt.Errorf("%w: %s", ErrDetached, reason)
	}
	return ErrDetached
}

// awaitStart waits for the segment that an aligned listener begins with.
func (l *Listener) awaitStart(ctx context.Context) error {
	for w := (waiter{}); l.searching; {
		// Before findStart: all starts are visible if the stream has ended.
		ended := l.endOfStream()
		if l.findStart() {
			return nil
		}
		if err := l.wait(ctx, &w, ended); err != nil {
			return err
		}
	}
	return nil
}

// findStart moves the listener to the first segment start that is published and not
// before its position, and reports whether there is one. If not, it moves the
// listener to the end of what is published: what lies before the start is of no use
// to it, and the producer may need the room to close the segment.
func (l *Listener) findStart() bool {
	first, found := l.firstStart(l.released)
	l.searching = !found
	l.startAt, l.released, l.next = first, first, first
	l.visible = first.seq
	l.blocks.reset(first.seq)
	l.publish()
	return found
}

// skipAhead moves a lossy listener half a buffer ahead of what may be overwritten
// and counts the frames before as overrun. Frames and blocks returned are void. It
// returns false if the producer was faster; the caller tries again then.
func (l *Listener) skipAhead() bool {
	to := l.oldest((l.mask + 1) / 2)
	for range 100 {
		if !l.overwritten(to) {
			break
		}
		pause()
		to = l.oldest((l.mask + 1) / 2)
	}
	l.countOverrun(to)
	return !l.overwritten(to)
}

// countOverrun counts everything between released and a position as overrun and
// continues there.
func (l *Listener) countOverrun(to position) {
	l.overrun += to.seq - l.released.seq
	l.overrunBytes += to.offset - l.released.offset
	l.released, l.next = to, to
	if l.member != nil {
		l.holdNothing()
	}
	l.blocks.reset(to.seq)
	l.visible = max(l.visible, to.seq)
	l.publish()
}

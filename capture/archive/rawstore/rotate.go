package rawstore

import (
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture/archive/store"
)

// rotator calls rotate when a new period begins, by the wall clock in UTC.
type rotator struct {
	rotate  func()
	mu      sync.Mutex // guards every
	every   time.Duration
	changed chan struct{} // every has changed
}

func (r *rotator) init(every time.Duration, rotate func()) {
	r.rotate, r.every, r.changed = rotate, every, make(chan struct{}, 1)
}

func (r *rotator) set(every time.Duration) error {
	if err := store.CheckPeriod(every); err != nil {
		return err
	}
	r.mu.Lock()
	r.every = every
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
	return nil
}

func (r *rotator) get() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.every
}

// clockInterval is the longest time between two readings of the clock, which may
// be set.
const clockInterval = time.Second

func (r *rotator) run(done <-chan struct{}) {
	var p period
	for {
		now, every := time.Now(), r.get()
		if p.changed(now, every) {
			r.rotate()
		}
		wait := clockInterval
		if every != 0 {
			wait = min(wait, store.PeriodEnd(now, every).Sub(now))
		}
		select {
		case <-done:
			return
		case <-r.changed:
		case <-time.After(wait):
		}
	}
}

// period is the one of the files being written.
type period struct {
	every time.Duration
	began time.Time
}

// changed reports whether another period has begun, also because the clock was
// set. When every changes the files go on into the new period.
func (p *period) changed(now time.Time, every time.Duration) bool {
	began := store.PeriodStart(now, every)
	changed := every == p.every && !began.Equal(p.began)
	p.every, p.began = every, began
	return changed
}

package recorder

import (
	"fmt"
	"sync"
	"time"
)

// CheckEvery says what is wrong with a time between rotations.
func CheckEvery(every time.Duration) error {
	if every != 0 && (every < time.Second || every > day) {
		return fmt.Errorf("new files every %v: choose 1s to 24h, or 0 for only when they are full", every)
	}
	return nil
}

const day = 24 * time.Hour

// rotator calls rotate whenever a new period has begun, by the wall clock in UTC.
type rotator struct {
	rotate  func()
	mu      sync.Mutex
	every   time.Duration
	changed chan struct{}
}

func (r *rotator) init(every time.Duration, rotate func()) {
	r.rotate, r.every, r.changed = rotate, every, make(chan struct{}, 1)
}

// SetEvery changes the time between rotations, see Config.Every.
func (r *rotator) SetEvery(every time.Duration) error {
	if err := CheckEvery(every); err != nil {
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

func (r *rotator) wanted() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.every
}

// look is the longest time between two looks at the clock, which may be set.
const look = time.Second

func (r *rotator) run(done <-chan struct{}) {
	var p period
	for {
		now, every := time.Now(), r.wanted()
		if p.turns(now, every) {
			r.rotate()
		}
		wait := look
		if every != 0 {
			wait = min(wait, until(now, every))
		}
		select {
		case <-done:
			return
		case <-r.changed:
		case <-time.After(wait):
		}
	}
}

// period is the one that the files being written belong to.
type period struct {
	every time.Duration
	began time.Time
}

// turns tells whether another period has come, be it that the clock was set, ahead
// or back. When every changes the file of the old period goes on in the new one.
func (p *period) turns(now time.Time, every time.Duration) bool {
	began := beginning(now, every)
	turned := every == p.every && !began.Equal(p.began)
	p.every, p.began = every, began
	return turned
}

// beginning is when the period that t lies in began: at a multiple of every since
// midnight UTC.
func beginning(t time.Time, every time.Duration) time.Time {
	if every == 0 {
		return time.Time{}
	}
	t = t.UTC()
	midnight := t.Truncate(day) // days since year 1 are days of UTC
	return midnight.Add(t.Sub(midnight) / every * every)
}

// until is how long the period that t lies in goes on: the last of a day ends at
// midnight.
func until(t time.Time, every time.Duration) time.Duration {
	t = t.UTC()
	return min(beginning(t, every).Add(every).Sub(t), t.Truncate(day).Add(day).Sub(t))
}

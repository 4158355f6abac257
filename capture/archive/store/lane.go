package store

import (
	"sync/atomic"
	"time"
)

// lane is one folder of a Storer, and those who write there.
type lane struct {
	dir     *Dir
	jobs    chan *block
	files   atomic.Int64
	wrote   atomic.Uint64
	waiting atomic.Int64 // blocks read and not written yet
	latency latency
	failing atomic.Pointer[trouble] // nil: none

	// The Storer's goroutine.
	tried time.Time // when a file was last begun
	retry time.Time // while failing: not before
}

// trouble is why nothing can be stored in a folder for the moment.
type trouble struct {
	err   error
	since time.Time
	lost  uint64 // what the Storer had lost until then, in bytes
}

// ready tells whether a file may be begun.
func (l *lane) ready(now time.Time) bool { return l.failing.Load() == nil || !now.Before(l.retry) }

// work writes blocks.
func (l *lane) work() {
	for b := range l.jobs {
		if b.file.failed.Load() {
			b.written, b.err = 0, nil // its file has ended before it
		} else {
			began := time.Now()
			b.written, b.err = b.file.write(b.out, b.off)
			l.latency.add(time.Since(began))
			l.wrote.Add(uint64(min(b.written, b.n)))
		}
		l.waiting.Add(-1)
		b.done <- struct{}{}
	}
}

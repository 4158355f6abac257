package store

import (
	"errors"
	"maps"
	"sync"

	"golang.org/x/sys/unix"
)

// Amount is a number of packets and their bytes.
type Amount struct{ Packets, Bytes uint64 }

// Add adds b to a.
func (a *Amount) Add(b Amount) {
	a.Packets += b.Packets
	a.Bytes += b.Bytes
}

// Sub returns a minus b.
func (a Amount) Sub(b Amount) Amount { return Amount{a.Packets - b.Packets, a.Bytes - b.Bytes} }

// Losses counts what could not be stored, by cause. Any goroutine may use it.
type Losses struct {
	mu      sync.Mutex // guards all
	byCause map[string]Amount
	first   error
}

// Add counts what was lost because of err.
func (l *Losses) Add(a Amount, err error) {
	if a == (Amount{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byCause == nil {
		l.byCause = map[string]Amount{}
	}
	sum := l.byCause[cause(err)]
	sum.Add(a)
	l.byCause[cause(err)] = sum
	if l.first == nil {
		l.first = err
	}
}

// Total returns the sum of all causes, and the first error.
func (l *Losses) Total() (sum Amount, first error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.byCause {
		sum.Add(a)
	}
	return sum, l.first
}

// ByCause returns a copy, by the name of the errno or the error's text.
func (l *Losses) ByCause() map[string]Amount {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.byCause)
}

// cause returns the name of an error's errno, such as "ENOSPC", or its text if it
// has none.
func cause(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}

package store

import (
	"context"
	"errors"
	"time"
)

// errPatience ends a wait that lasted too long; the one who waits goes on.
var errPatience = errors.New("nothing came in time")

// patience is a context that ends some time from now. One is used over and over,
// where a context with a deadline would be allocated for each wait; it has no Done
// of its own, which suits those who look at Err again and again.
type patience struct {
	context.Context
	deadline time.Time
}

// until makes p end when parent does, or with errPatience after d.
func (p *patience) until(parent context.Context, d time.Duration) context.Context {
	p.Context, p.deadline = parent, time.Now().Add(d)
	return p
}

// Err implements context.Context.
func (p *patience) Err() error {
	if err := p.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(p.deadline) {
		return errPatience
	}
	return nil
}

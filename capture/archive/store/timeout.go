package store

import (
	"context"
	"errors"
	"time"
)

// ErrTimeout is the error of a Timeout whose time is over.
var ErrTimeout = errors.New("timeout")

// Timeout is a context that ends after a time. It is used over and over, where
// context.WithTimeout allocates. It has no Done channel of its own, so it suits
// callees that poll Err.
type Timeout struct {
	context.Context
	deadline time.Time
}

// Reset makes t end when parent does, or with ErrTimeout after d. It returns t.
func (t *Timeout) Reset(parent context.Context, d time.Duration) context.Context {
	t.Context, t.deadline = parent, time.Now().Add(d)
	return t
}

// Err implements context.Context.
func (t *Timeout) Err() error {
	if err := t.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(t.deadline) {
		return ErrTimeout
	}
	return nil
}

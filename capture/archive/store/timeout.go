package store

import (
	"context"
	"errors"
	"time"
)

// ErrTimeout is the error of a Timeout whose time is over.
var ErrTimeout = errors.New("timeout")

// Timeout is a context that ends after a time. It is used over and over, where
// context.WithTimeout allocates. Its Done channel is its parent's, so it suits callees that
// poll Err or wait until Deadline.
type Timeout struct {
	context.Context
	deadline time.Time
}

// Reset makes t end when parent does, or with ErrTimeout after d. It returns t.
func (t *Timeout) Reset(parent context.Context, d time.Duration) context.Context {
	t.Context, t.deadline = parent, time.Now().Add(d)
	return t
}

// Deadline implements context.Context.
func (t *Timeout) Deadline() (time.Time, bool) {
	if end, ok := t.Context.Deadline(); ok && end.Before(t.deadline) {
		return end, true
	}
	return t.deadline, true
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

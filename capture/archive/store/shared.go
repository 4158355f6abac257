package store

import (
	"context"
	"errors"
	"time"
)

// What package pcapstore shares with this one.

// Folder opens the folder, and makes it again if somebody removed it. A disk that
// was unmounted is left alone.
func (d *Dir) Folder() (fd int, err error) { return d.folder() }

// Cause is the name of an error's errno, "ENOSPC", or its text if it has none.
func Cause(err error) string { return cause(err) }

// Clock counts how long writes take. Any number of goroutines may use it.
type Clock struct{ latency latency }

// Add counts a write; Read returns what was counted.
func (c *Clock) Add(d time.Duration) { c.latency.add(d) }
func (c *Clock) Read() Latency       { return c.latency.read() }

// Add adds another folder's writes.
func (l *Latency) Add(o *Latency) { l.add(o) }

// Wait makes contexts that end some time from now and need not be allocated each.
type Wait struct{ patience patience }

// Until is a context, valid until the next call, that ends when parent does or
// after d.
func (w *Wait) Until(parent context.Context, d time.Duration) context.Context {
	return w.patience.until(parent, d)
}

// IsWaited tells whether err is that of a context of Until after its time.
func IsWaited(err error) bool { return errors.Is(err, errPatience) }

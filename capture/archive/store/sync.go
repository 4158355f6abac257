package store

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/units"
)

// Sync says when a file is synced, so that a power failure loses nothing of it:
// SyncAtClose, SyncNever, or at an interval while it is written, and when it is
// closed.
type Sync time.Duration

const (
	SyncAtClose Sync = 0
	SyncNever   Sync = -1 // the kernel decides; its write errors go unnoticed
)

// ParseSync reads "close", "none", or an interval such as "10s".
func ParseSync(text string) (Sync, error) {
	switch text {
	case "close":
		return SyncAtClose, nil
	case "none":
		return SyncNever, nil
	}
	d, err := units.ParseDuration(text)
	if err != nil || d.Duration() < time.Millisecond {
		return 0, fmt.Errorf("sync %q: choose close, none or a time such as 10s", text)
	}
	return Sync(d), nil
}

func (s Sync) String() string {
	switch {
	case s == SyncAtClose:
		return "close"
	case s < 0:
		return "none"
	}
	return units.Duration(s).String()
}

// MarshalText implements encoding.TextMarshaler.
func (s Sync) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sync) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSync(string(text))
	return err
}

// Interval returns the time between two checks of an open file: the sync interval,
// else 1 s.
func (s Sync) Interval() time.Duration {
	if s > 0 {
		return time.Duration(s)
	}
	return time.Second
}

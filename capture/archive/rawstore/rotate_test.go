package rawstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A clock that is set, ahead or back, into another period begins a file: no file
// spans two periods.
func TestRotationFollowsTheWallClock(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 7, 0, 0, time.UTC)
	var p period
	for _, c := range []struct {
		step  time.Duration
		every time.Duration
		turns bool
		what  string
	}{
		{0, 15 * time.Minute, false, "the first call"},
		{7*time.Minute + 59*time.Second, 15 * time.Minute, false, "14:14:59"},
		{time.Second, 15 * time.Minute, true, "14:15"},
		{0, 15 * time.Minute, false, "once"},
		{72 * time.Hour, 15 * time.Minute, true, "three days later"},
		{-10 * time.Minute, 15 * time.Minute, true, "set back into the period before"},
		{-time.Second, 15 * time.Minute, false, "set back within it"},
		{0, time.Hour, false, "another time between rotations"},
		{time.Hour, time.Hour, true, "an hour later"},
		{0, 0, false, "off"},
		{48 * time.Hour, 0, false, "never, when it is off"},
		{0, time.Second, false, "on again"},
		{time.Second, time.Second, true, "every second"},
	} {
		now = now.Add(c.step)
		require.Equal(t, c.turns, p.changed(now, c.every), c.what)
	}
}

func TestInvalidPeriodsAreRefused(t *testing.T) {
	var r rotator
	r.init(0, func() {})
	for _, every := range []time.Duration{-time.Second, time.Millisecond, 25 * time.Hour} {
		require.ErrorContains(t, r.set(every), "choose 1s to 24h")
	}
	for _, every := range []time.Duration{0, time.Second, 24 * time.Hour} {
		require.NoError(t, r.set(every))
	}
}

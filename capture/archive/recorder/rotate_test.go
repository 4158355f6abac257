package recorder

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPeriodsBeginAtMultiplesSinceMidnightUTC(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339Nano, text)
		require.NoError(t, err)
		return when
	}
	for _, c := range []struct {
		every       time.Duration
		now, began  string
		left        time.Duration
		description string
	}{
		{15 * time.Minute, "2026-11-21T14:07:30Z", "2026-11-21T14:00:00Z", 7*time.Minute + 30*time.Second, "within"},
		{15 * time.Minute, "2026-11-21T14:15:00Z", "2026-11-21T14:15:00Z", 15 * time.Minute, "at the very moment"},
		{time.Second, "2026-11-21T14:15:00.999999999Z", "2026-11-21T14:15:00Z", 1, "the last nanosecond"},
		{7 * time.Hour, "2026-11-21T23:00:00Z", "2026-11-21T21:00:00Z", time.Hour, "the day's last period is cut"},
		{7 * time.Hour, "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", 7 * time.Hour, "and begins anew"},
		{24 * time.Hour, "2026-11-21T00:30:00+02:00", "2026-11-20T00:00:00Z", 90 * time.Minute, "another zone"},
		{time.Minute, "1969-12-31T23:59:30Z", "1969-12-31T23:59:00Z", 30 * time.Second, "a clock that was never set"},
	} {
		require.True(t, at(c.began).Equal(beginning(at(c.now), c.every)), c.description)
		require.Equal(t, c.left, until(at(c.now), c.every), c.description)
	}
}

// A clock that jumps, ahead or back, into another period is as good as one that
// goes: no file spans two periods.
func TestRotationFollowsTheWallClock(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 7, 0, 0, time.UTC)
	var p period
	for _, c := range []struct {
		step  time.Duration
		every time.Duration
		turns bool
		what  string
	}{
		{0, 15 * time.Minute, false, "the first look"},
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
		require.Equal(t, c.turns, p.turns(now, c.every), c.what)
	}
}

func TestTimesBetweenRotationsThatMakeNoSenseAreRefused(t *testing.T) {
	var r rotator
	r.init(0, nil)
	for _, every := range []time.Duration{-time.Second, time.Millisecond, 25 * time.Hour} {
		require.ErrorContains(t, r.SetEvery(every), "choose 1s to 24h")
	}
	for _, every := range []time.Duration{0, time.Second, 24 * time.Hour} {
		require.NoError(t, r.SetEvery(every))
	}
}

package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/store"
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
		require.True(t, at(c.began).Equal(store.PeriodStart(at(c.now), c.every)), c.description)
		require.Equal(t, c.left, store.PeriodEnd(at(c.now), c.every).Sub(at(c.now)), c.description)
	}
}

func TestInvalidPeriodsAreRefused(t *testing.T) {
	for _, every := range []time.Duration{-time.Second, time.Millisecond, 25 * time.Hour} {
		require.ErrorContains(t, store.CheckPeriod(every), "choose 1s to 24h")
	}
	for _, every := range []time.Duration{0, time.Second, 24 * time.Hour} {
		require.NoError(t, store.CheckPeriod(every))
	}
}

package units_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/units"
)

// What is parsed prints as a text that parses to the same value.
func FuzzSizesAndTimes(f *testing.F) {
	for _, s := range []string{"2GiB", "1.5MB", "256M", "0", "90", "0.25", "7d", "1d12h", "0.1d", "1h0m5s", "-1s", "1e3d", "9223372036s", "d", "1d1d", "", "0x1p4", "1e300"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := units.ParseSize(text); err == nil {
			require.GreaterOrEqual(t, s, units.Size(0))
			back, err := units.ParseSize(s.String())
			require.NoError(t, err)
			require.Equal(t, s, back)
		}
		if d, err := units.ParseDuration(text); err == nil {
			require.GreaterOrEqual(t, d, units.Duration(0))
			back, err := units.ParseDuration(d.String())
			require.NoError(t, err)
			require.Equal(t, d, back)
		}
	})
}

// A time that is parsed prints as a text that parses to the same time.
func FuzzTimes(f *testing.F) {
	now := time.Date(2026, 10, 25, 18, 30, 15, 1, zone(f, "Europe/Berlin"))
	for _, s := range []string{"2026-11-28T18:00:00.5Z", "20261128", "20261128T180000Z", "18:00:30,5 +0100", "yesterday 18:00", "now-5m", "-1d", "5m ago", "@1700000000.5", "1700000000000",
		"2026-10-25 02:30", "2026-03-29 02:30 CEST", "monday noon", "11/12/2026", "24:00", "18:00 Europe/London", "+1m", "none"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, from, to string) {
		at, err := units.ParseTime(from, now)
		if err == nil {
			back, err := units.ParseTime(at.Format(time.RFC3339Nano), now)
			require.NoError(t, err)
			require.True(t, at.Equal(back), "%v is %v", at, back)
			require.Equal(t, now.Location(), at.Location())
			require.True(t, at.Equal(time.Unix(0, at.UnixNano())))
		}
		w, err := units.ParseWindow(from, to, now)
		require.True(t, err == nil || w == units.Window{})
		require.True(t, w.From.IsZero() || w.To.IsZero() || w.From.Before(w.To))
		require.NotEmpty(t, w.String())
	})
}

// A zone that is parsed is one that package time can use.
func FuzzZones(f *testing.F) {
	for _, s := range []string{"", "UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "<+03>-3", "EST5EDT", "PST8PDT,J60,300/-1", ":Europe/Berlin", "../x", "A\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tz string) {
		zone, err := units.ParseZone(tz)
		if err != nil {
			return
		}
		for year := 1970; year < 2100; year += 13 {
			at := time.Date(year, 7, 1, 12, 0, 0, 0, zone)
			require.NotEmpty(t, at.Format("MST"))
			require.Less(t, at.Sub(time.Date(year, 7, 1, 12, 0, 0, 0, time.UTC)).Abs(), 170*time.Hour)
		}
	})
}

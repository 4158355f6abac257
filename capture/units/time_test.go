package units_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/units"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Skipf("tzdata is not installed, make tools installs it: %v", err)
	}
	return z
}

// table returns the rows of a table of docs/TIMES.md: the text and what stands beside it.
func table(t *testing.T, heading string) (rows [][2]string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/TIMES.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(doc), "\n## "+heading)
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`[^|]*\\| `?([^`|]+?)`? \\|$").FindAllStringSubmatch(section, -1) {
		rows = append(rows, [2]string{m[1], m[2]})
	}
	require.Equal(t, strings.Count(section, "\n| `"), len(rows), "every row is read")
	return rows
}

func TestTheTablesOfTimesAreTrue(t *testing.T) {
	doc, err := os.ReadFile("../../docs/TIMES.md")
	require.NoError(t, err)
	berlin := zone(t, "Europe/Berlin")
	now := time.Date(2026, 11, 28, 18, 30, 15, 0, berlin)
	require.Contains(t, string(doc), "now is "+now.Format("Monday 2006-01-02")+" at "+now.Format("15:04:05")+" in Berlin, `"+now.Format(time.RFC3339)+"`")
	read := table(t, "Read")
	require.Greater(t, len(read), 35)
	for _, row := range read {
		got, err := units.ParseTime(row[0], now)
		require.NoError(t, err)
		require.Equal(t, row[1], got.Format(time.RFC3339Nano), row[0])
		require.Equal(t, berlin, got.Location())
	}
	refused := table(t, "Refused")
	require.Greater(t, len(refused), 12)
	for _, row := range refused {
		_, err := units.ParseTime(row[0], now)
		require.ErrorContains(t, err, row[1])
		require.ErrorContains(t, err, "time \""+row[0]+"\": ")
	}
}

func TestTimesAreRelativeToNowAndInItsZone(t *testing.T) {
	here := time.FixedZone("here", 3600)
	now := time.Date(2026, 11, 21, 15, 30, 0, 5, here)
	for text, want := range map[string]time.Time{
		"now":                           now,
		"-5m":                           now.Add(-5 * time.Minute),
		"-1h30m":                        now.Add(-90 * time.Minute),
		"14:00":                         time.Date(2026, 11, 21, 14, 0, 0, 0, here),
		"14:00:01.5":                    time.Date(2026, 11, 21, 14, 0, 1, 5e8, here),
		"2026-11-20 14:00":              time.Date(2026, 11, 20, 14, 0, 0, 0, here),
		"2026-11-20T14:00:07.123456789": time.Date(2026, 11, 20, 14, 0, 7, 123456789, here),
		"2026-11-20":                    time.Date(2026, 11, 20, 0, 0, 0, 0, here),
		"2026-11-20T14:00:00Z":          time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC),
		"2026-11-20T14:00:00.5+02:00":   time.Date(2026, 11, 20, 12, 0, 0, 5e8, time.UTC),
		"1795269600":                    time.Unix(1795269600, 0),
		"1795269600.123456789":          time.Unix(1795269600, 123456789),
	} {
		got, err := units.ParseTime(text, now)
		require.NoError(t, err)
		require.True(t, want.Equal(got), "%q: %v, not %v", text, got, want)
		require.Equal(t, here, got.Location())
	}
}

func TestTextsThatAreNoTimeAreRefused(t *testing.T) {
	now := time.Date(2026, 11, 28, 18, 30, 15, 0, time.UTC)
	for _, text := range []string{
		"", " ", "none", "25:00", "+x", "1.2.3", ".", "99999999999999999999", "0", "T", "Z", "-", "+", "@", "@x", "@-5", "12:3", "1:2:3", "123:00", "18:00x", "18:00Zx", "18:00+1", "18:00+24:00", "18:00+01:60", "18:00 +01:00 CET",
		"2026-11", "2026-11-28T", "2026-11-28 18", "2026-11-28 +0100", "2026-11-28-05", "2026-11-2818:00", "2026-1-2", "2026-13-01", "2026/11-28", "20261128 T 1", "20261399", "20261128250000",
		"24:00:01", "24:30", "23:59:60", "1e9", "0x10", "1700000000.5.5", "-1d ago", "1 fortnight ago", "1ms ago", "9e99 days ago", "-1e300d", "--5m", "now5m", "soon-5m", "now-5", "yesterday-5",
		"31.31.2026", "01-02-2026", "18:00 Local", "18:00 ../etc/passwd", "18:00 /etc/localtime", "99999999999999999999999999", "0001-01-01", "9999-12-31", "today today", "2026-11-28\n18:00x",
	} {
		got, err := units.ParseTime(text, now)
		require.Error(t, err, "%q is %v", text, got)
		require.Zero(t, got)
		require.ErrorContains(t, err, "time ")
	}
}

func TestNumbersAreReadByTheirRange(t *testing.T) {
	now := time.Date(2026, 11, 28, 18, 30, 15, 0, time.UTC)
	for text, want := range map[string]string{
		"946684800":              "2000-01-01T00:00:00Z", // nine digits
		"631152000000":           "1990-01-01T00:00:00Z",
		"1700000000.123456789":   "2023-11-14T22:13:20.123456789Z",
		"1700000000,5":           "2023-11-14T22:13:20.5Z",
		"1700000000.1234567899":  "2023-11-14T22:13:20.123456789Z", // cut, not rounded
		"1700000000000.25":       "2023-11-14T22:13:20.00025Z",
		"@1700000000000":         "2023-11-14T22:13:20Z",
		"@1700000000000000001":   "2023-11-14T22:13:20.000000001Z",
		"@20261128":              "1970-08-23T12:05:28Z",
		"@0":                     "1970-01-01T00:00:00Z",
		"@0.000000001":           "1970-01-01T00:00:00.000000001Z",
		"20000101000000":         "2000-01-01T00:00:00Z",
		"@1000.3333333333333333": "1970-01-01T00:16:40.333333333Z",
	} {
		got, err := units.ParseTime(text, now)
		require.NoError(t, err)
		require.Equal(t, want, got.Format(time.RFC3339Nano), text)
	}
	for text, want := range map[string]string{
		"9":           "9:00 for 2026-11-28T09:00:00Z, or @9 for 1970-01-01T00:00:09Z",
		"180000":      "18:00:00 for 2026-11-28T18:00:00Z, or @180000 for 1970-01-03T02:00:00Z",
		"261128":      "2026-11-28 for 2026-11-28T00:00:00Z, or @261128 ",
		"2026112":     "Write @2026112 for ",
		"10000000000": "Write @10000000 for 1970-04-26T17:46:40Z, or @10000 for ",
	} {
		_, err := units.ParseTime(text, now)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "several")
	}
}

func TestDaysBeginWhereTheirZoneBeginsThem(t *testing.T) {
	for _, c := range []struct{ zone, text, want string }{
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00"}, // set forward at midnight
		{"America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00"},    // set back at 01:00: two midnights
		{"Asia/Kathmandu", "2026-11-28", "2026-11-28T00:00:00+05:45"},
		{"Pacific/Apia", "2011-12-30", ""}, // no such day there
		{"Pacific/Apia", "2011-12-31", "2011-12-31T00:00:00+14:00"},
		{"Australia/Lord_Howe", "2026-04-05 01:45", ""}, // set back by half an hour
		{"Australia/Lord_Howe", "2026-04-05 02:00", "2026-04-05T02:00:00+10:30"},
		{"Australia/Lord_Howe", "2026-10-04 02:15", ""},
		{"Africa/Monrovia", "1972-01-01 12:00", "1972-01-01T12:00:00-00:44"},
		{"Europe/Berlin", "2026-10-25 02:30 CEST", "2026-10-25T02:30:00+02:00"},
		{"Europe/Berlin", "2026-10-25 02:30 cet", "2026-10-25T02:30:00+01:00"},
		{"Europe/Berlin", "2026-10-25 02:30+0200", "2026-10-25T02:30:00+02:00"},
		{"Europe/Berlin", "2026-10-25 01:59:59.9", "2026-10-25T01:59:59.9+02:00"},
		{"Europe/Berlin", "2026-10-25 03:00", "2026-10-25T03:00:00+01:00"},
		{"Europe/Berlin", "2026-10-25 24:00", "2026-10-26T00:00:00+01:00"},
		{"Europe/Berlin", "2026-03-29 03:00", "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", "2026-03-29 02:30+01:00", "2026-03-29T03:30:00+02:00"},
		{"Europe/Berlin", "2026-03-29 02:00", ""},
	} {
		z := zone(t, c.zone)
		got, err := units.ParseTime(c.text, time.Date(2026, 11, 28, 0, 0, 0, 0, z))
		if c.want == "" {
			require.ErrorContains(t, err, "the clocks of "+c.zone, c.text)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, got.Format(time.RFC3339Nano), c)
	}
	got, err := units.ParseTime("today", time.Date(2026, 11, 28, 23, 30, 0, 0, zone(t, "Pacific/Kiritimati")))
	require.NoError(t, err)
	require.Equal(t, "2026-11-28T00:00:00+14:00", got.Format(time.RFC3339))
	got, err = units.ParseTime("18:00Z", time.Date(2026, 11, 28, 1, 0, 0, 0, zone(t, "Pacific/Kiritimati")))
	require.NoError(t, err)
	require.Equal(t, "2026-11-28T08:00:00+14:00", got.Format(time.RFC3339), "today is that of the zone written")
}

func TestWindows(t *testing.T) {
	now := time.Date(2026, 11, 28, 18, 30, 15, 0, zone(t, "Europe/Berlin"))
	for _, c := range []struct{ from, to, want string }{
		{"18:00", "19:00", "2026-11-28T17:00:00Z to 18:00:00Z (18:00 to 19:00 CET)"},
		{"18:00:30.5", "+1m", "2026-11-28T17:00:30.5Z to 17:01:30.5Z (18:00:30.5 to 18:01:30.5 CET)"},
		{"-1m", "now", "2026-11-28T17:29:15Z to 17:30:15Z (18:29:15 to 18:30:15 CET)"},
		{"00:10", "00:20", "2026-11-27T23:10:00Z to 23:20:00Z (2026-11-28 00:10 to 00:20 CET)"},
		{"yesterday", "today", "2026-11-26T23:00:00Z to 2026-11-27T23:00:00Z (2026-11-27 00:00 to 2026-11-28 00:00 CET)"},
		{"2026-10-25", "2026-10-25 04:00", "2026-10-24T22:00:00Z to 2026-10-25T03:00:00Z (2026-10-25 00:00 CEST to 04:00 CET)"},
		{"18:00", "none", "2026-11-28T17:00:00Z to the end (18:00 CET to the end)"},
		{"none", "00:30", "the beginning to 2026-11-27T23:30:00Z (the beginning to 2026-11-28 00:30 CET)"},
		{"none", "none", "no limits"},
	} {
		w, err := units.ParseWindow(c.from, c.to, now)
		require.NoError(t, err)
		require.Equal(t, c.want, w.String(), c)
	}
	w, err := units.ParseWindow("18:00", "19:00", now.UTC())
	require.NoError(t, err)
	require.Equal(t, "2026-11-28T18:00:00Z to 19:00:00Z", w.String(), "local time is UTC")
	west, err := units.ParseZone("UTC+3")
	require.NoError(t, err)
	w, err = units.ParseWindow("18:00", "19:00", now.In(west))
	require.NoError(t, err)
	require.Equal(t, "2026-11-28T21:00:00Z to 22:00:00Z (18:00 to 19:00 -03:00)", w.String(), "UTC is what the rule calls a zone 3 h west")

	for _, c := range []struct{ from, to, want string }{
		{"", "none", "from: time \"\": is empty"},
		{"none", "", "to: time \"\": is empty"},
		{"none", "+1m", "to: time \"+1m\": the start of the window"},
		{"+1m", "none", "from: time \"+1m\": the start of the window"},
		{"18:00", "+1", "to: time \"+1\": the span has no unit. Write +1s, "},
		{"19:00", "18:00", "from 2026-11-28T19:00:00+01:00 to 2026-11-28T18:00:00+01:00"},
		{"18:00", "18:00", "the window is empty"},
	} {
		w, err := units.ParseWindow(c.from, c.to, now)
		require.ErrorContains(t, err, c.want)
		require.Zero(t, w)
	}
}

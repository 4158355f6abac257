package units_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/units"
)

// Date of the GNU coreutils, whose time zones are those of glibc, is the reference.
func TestZonesAreThoseOfDate(t *testing.T) {
	if _, err := exec.LookPath("date"); err != nil {
		t.Skip("date is not installed: make tools installs it")
	}
	var stamps strings.Builder
	var times []time.Time
	for at := time.Date(2023, 12, 31, 0, 0, 0, 0, time.UTC); at.Year() < 2029; at = at.Add(7*time.Hour + 59*time.Minute + 59*time.Second) {
		times = append(times, at)
		fmt.Fprintf(&stamps, "@%d\n", at.Unix())
	}
	for _, tz := range []string{
		"", "UTC", "UTC0", ":Europe/Berlin", "Europe/Berlin", "/usr/share/zoneinfo/Asia/Tokyo",
		"CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT,M3.2.0,M11.1.0", "NZST-12NZDT,M9.5.0,M4.1.0/3", "<+03>-3", "<-03>3<-02>,M3.5.0/-2,M10.5.0/-1",
		"<+0330>-3:30", "ABC-13:45:10", "IST-2IDT,M3.4.4/26,M10.5.0", "XXX3YYY4,60/1:30,J300", "PST8PDT7,J60,J300/0",
	} {
		zone, err := units.ParseZone(tz)
		require.NoError(t, err, tz)
		date := exec.CommandContext(t.Context(), "date", "-f", "-", "+%Y-%m-%dT%H:%M:%S %Z")
		date.Env = append(os.Environ(), "TZ="+tz, "LC_ALL=C")
		date.Stdin = strings.NewReader(stamps.String())
		out, err := date.Output()
		require.NoError(t, err, tz)
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		require.Len(t, lines, len(times))
		for i, at := range times {
			require.Equal(t, lines[i], at.In(zone).Format("2006-01-02T15:04:05 MST"), "TZ=%s at %v", tz, at)
		}
	}
}

func TestZonesThatDoNotExistAreRefused(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "zone")
	require.NoError(t, os.WriteFile(broken, []byte("TZif"), 0o644))
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	long := filepath.Join(t.TempDir(), "long")
	require.NoError(t, os.WriteFile(long, nil, 0o600))
	require.NoError(t, os.Truncate(long, 1<<40))
	for _, tz := range []string{
		"Europe/Berlim", "Europe/berlin/", "CET-", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "A-1", "<+03-3", "foo", "Local", "../../etc/localtime",
		"/nonexistent", broken, "CET-1\n", "/dev/zero", ":/dev/zero", t.TempDir(), pipe, long,
	} {
		_, err := units.ParseZone(tz)
		require.ErrorContains(t, err, "time zone TZ="+tz+": ", tz)
		t.Setenv("TZ", tz)
		_, err = units.LocalZone()
		require.ErrorContains(t, err, "TZ="+tz)
	}
	t.Setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
	zone, err := units.LocalZone()
	require.NoError(t, err)
	got, err := units.ParseTime("2026-07-01 12:00", time.Date(2026, 11, 28, 0, 0, 0, 0, zone))
	require.NoError(t, err)
	require.Equal(t, "2026-07-01T12:00:00+02:00", got.Format(time.RFC3339))
	_, err = units.ParseTime("2027-10-31 02:30", time.Date(2026, 11, 28, 0, 0, 0, 0, zone))
	require.ErrorContains(t, err, "2027-10-31T02:30:00+02:00 (CEST) or 2027-10-31T02:30:00+01:00 (CET)")

	require.NoError(t, os.Unsetenv("TZ")) // Setenv restores it
	_, err = units.LocalZone()
	require.NoError(t, err)
}

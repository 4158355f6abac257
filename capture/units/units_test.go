package units_test

import (
	"encoding"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/units"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"2GiB": 2 << 30, "256MiB": 256 << 20, "64KiB": 64 << 10, "1TiB": 1 << 40, "1.5MiB": 3 << 19, "2GB": 2e9, "1500kB": 15e5, "7MB": 7e6,
		"256M": 256 << 20, "2G": 2 << 30, "1.5G": 3 << 29, "4k": 4096, "4K": 4096, "1T": 1 << 40,
		"4096": 4096, "12B": 12, "0": 0, "3 MiB": 3 << 20,
	} {
		s, err := units.ParseSize(text)
		require.NoError(t, err, text)
		require.EqualValues(t, want, s, text)
	}
	for _, text := range []string{"", " ", "MiB", "G", "2X", "2Gi", "-1MiB", "1.3B", "9999999TiB", "NaN", "1e400", "Inf", "2 Gi B"} {
		_, err := units.ParseSize(text)
		require.ErrorContains(t, err, "such as 4096, 256MiB or 2G", text)
	}
}

func TestSizePrintsTheLargestUnit(t *testing.T) {
	for size, want := range map[units.Size]string{2 << 30: "2GiB", 3 << 19: "1536KiB", 5: "5B", 0: "0B", 1 << 40: "1TiB"} {
		require.Equal(t, want, size.String())
		back, err := units.ParseSize(want)
		require.NoError(t, err)
		require.Equal(t, size, back)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90": 90 * time.Second, "0.5": 500 * time.Millisecond, "90s": 90 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute,
		"7d": 168 * time.Hour, "14d": 14 * units.Day, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "0d": 0, "10ms": 10 * time.Millisecond, "7": 7 * time.Second,
		"5min": 5 * time.Minute, "1w": 7 * units.Day, "2weeks": 14 * units.Day, "1hour30mins": 90 * time.Minute, "3days": 3 * units.Day, "10sec": 10 * time.Second,
		"1.5h": 90 * time.Minute, ".5s": time.Second / 2, "2.s": 2 * time.Second, "100us": 100 * time.Microsecond, "1w1ns": 7*units.Day + 1,
	} {
		v, err := units.ParseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, v.Duration(), text)
	}
	for _, text := range []string{"", " ", "d", "-1", "-1s", "-1d", "1d-1h", "NaN", "NaNd", "Inf", "1e300", "1e300d", "1h1d", "d1h", "week", "90 s", "1mi", "1month", "1m1h", "1m1min", "1.2.3s", ".s", "1M", "100000w"} {
		_, err := units.ParseDuration(text)
		require.ErrorContains(t, err, "such as 90, 90s, 15m, 1h30m, 14d or 2w", text)
	}
}

func TestDurationPrintsNoZeroUnits(t *testing.T) {
	for want, v := range map[string]time.Duration{
		"0s": 0, "1m": time.Minute, "1m30s": 90 * time.Second, "1h": time.Hour, "1h0m5s": time.Hour + 5*time.Second, "1h30m": 90 * time.Minute,
		"7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "10s": 10 * time.Second, "200ms": 200 * time.Millisecond,
	} {
		require.Equal(t, want, units.Duration(v).String())
		back, err := units.ParseDuration(want)
		require.NoError(t, err)
		require.Equal(t, v, back.Duration())
	}
}

func TestRefusedTextLeavesTheValueUnchanged(t *testing.T) {
	type value interface {
		Set(string) error
		String() string
		Type() string
		encoding.TextUnmarshaler
		encoding.TextMarshaler
	}
	for _, c := range []struct {
		v               value
		good, want, bad string
	}{
		{new(units.Size), "1G", "1GiB", "1Gx"},
		{new(units.Duration), "24h", "1d", "soon"},
	} {
		require.NoError(t, c.v.Set(c.good))
		require.Error(t, c.v.Set(c.bad))
		require.Error(t, c.v.Set(""))
		require.Equal(t, c.want, c.v.String())
		text, err := c.v.MarshalText()
		require.NoError(t, err)
		require.Equal(t, c.want, string(text))
		require.NoError(t, c.v.UnmarshalText([]byte(c.good)))
		require.Equal(t, c.want, c.v.String())
		require.NotEmpty(t, c.v.Type())
	}
}

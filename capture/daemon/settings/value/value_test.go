package value_test

import (
	"encoding"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/settings/value"
)

func TestSizesAreWordsWithUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"2GiB": 2 << 30, "64KiB": 64 << 10, "1TiB": 1 << 40, "1.5MiB": 3 << 19, "2GB": 2e9, "1500kB": 15e5, "4096": 4096, "0": 0, "3 MiB": 3 << 20,
	} {
		s, err := value.ParseSize(text)
		require.NoError(t, err, text)
		require.EqualValues(t, want, s, text)
	}
	for _, text := range []string{"", "MiB", "2G", "-1MiB", "1.3B", "9999999TiB", "NaN", "Inf"} {
		_, err := value.ParseSize(text)
		require.ErrorContains(t, err, "256MiB or 2GiB", text)
	}
}

func TestTimesHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "0.5d": 12 * time.Hour, "0d": 0, "10ms": 10 * time.Millisecond,
	} {
		v, err := value.ParseTime(text)
		require.NoError(t, err, text)
		require.Equal(t, want, v.Span(), text)
	}
	for want, v := range map[string]time.Duration{
		"0s": 0, "1m": time.Minute, "1m30s": 90 * time.Second, "1h": time.Hour, "1h0m5s": time.Hour + 5*time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "10s": 10 * time.Second, "200ms": 200 * time.Millisecond,
	} {
		require.Equal(t, want, value.Time(v).String())
		back, err := value.ParseTime(want)
		require.NoError(t, err)
		require.Equal(t, v, back.Span())
	}
	for _, text := range []string{"", "d", "7", "-1s", "-1d", "1d-1h", "NaNd", "1e300d", "1h1d", "d1h", "week"} {
		_, err := value.ParseTime(text)
		require.ErrorContains(t, err, "90s, 15m, 1h30m or 7d", text)
	}
}

func TestWhatIsRefusedLeavesTheValueAsItWas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(file, []byte("(udp) all\n96 # the rest"), 0o600))
	for _, c := range []struct {
		v    flag.Value
		good map[string]string
		bad  map[string]string
	}{
		{new(value.Size), map[string]string{"1GiB": "1GiB"}, map[string]string{"1G": "want a number of bytes"}},
		{new(value.Time), map[string]string{"24h": "1d"}, map[string]string{"soon": "want a number with its unit"}},
		{new(value.Pages), map[string]string{"2MiB": "2MiB", "1GiB": "1GiB", "ordinary": "ordinary"}, map[string]string{"4KiB": "want 2MiB, 1GiB or ordinary"}},
		{new(value.Cores), map[string]string{"2, 3": "2,3", "0": "0"}, map[string]string{"1,-2": "want numbers from 0", "": "want numbers from 0"}},
		{new(value.Mode), map[string]string{"660": "0660"}, map[string]string{"0": "octal", "0888": "octal", "1777": "octal"}},
		{new(value.Rules), map[string]string{"@" + file: "(udp) all; 96", "drop": "drop", "all": "", "": ""}, map[string]string{"96 96": "separated by", "@" + file + "x": "no such file"}},
		{
			new(value.Copies), map[string]string{"true": "window=0s,records=0,pools=0,bytes=0,index=content", "false": "", "window=1s,index=rss": "window=1s,records=0,pools=0,bytes=0,index=rss"},
			map[string]string{"window": "window", "colour=3": "choose window=TIME", "bytes=-1": "bytes compared", "window=200ms,records=x": `setting "records=x"`},
		},
	} {
		for text, want := range c.good {
			require.NoError(t, c.v.Set(text), text)
			require.Equal(t, want, c.v.String())
			require.NoError(t, c.v.(encoding.TextUnmarshaler).UnmarshalText([]byte(text)))
			for bad, why := range c.bad {
				require.ErrorContains(t, c.v.Set(bad), why, bad)
				require.Equal(t, want, c.v.String(), "after %q", bad)
			}
		}
	}
}

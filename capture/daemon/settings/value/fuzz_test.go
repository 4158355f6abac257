package value_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/settings/value"
)

// What is read is written so that it reads the same.
func FuzzSizesAndTimes(f *testing.F) {
	for _, s := range []string{"2GiB", "1.5MB", "0", "7d", "1d12h", "0.1d", "1h0m5s", "-1s", "1e3d", "9223372036s", "d", "1d1d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := value.ParseSize(text); err == nil {
			require.GreaterOrEqual(t, s, value.Size(0))
			back, err := value.ParseSize(s.String())
			require.NoError(t, err)
			require.Equal(t, s, back)
		}
		if d, err := value.ParseTime(text); err == nil {
			require.GreaterOrEqual(t, d, value.Time(0))
			back, err := value.ParseTime(d.String())
			require.NoError(t, err)
			require.Equal(t, d, back)
		}
	})
}

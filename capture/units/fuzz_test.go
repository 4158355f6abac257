package units_test

import (
	"testing"

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

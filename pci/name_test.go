package pci

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAddressAcceptsTheKernelsFormat(t *testing.T) {
	for text, want := range map[string]Address{
		"0000:00:00.0":     {},
		"0000:03:00.0":     {0, 3, 0, 0},
		"ffff:ff:1f.7":     {0xffff, 0xff, 31, 7},
		"10000:e1:00.1":    {0x10000, 0xe1, 0, 1}, // behind a VMD controller
		"ffffffff:00:00.0": {0xffffffff, 0, 0, 0},
		"00AB:Cd:0e.1":     {0xab, 0xcd, 0xe, 1},
	} {
		got, err := ParseAddress(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	require.Equal(t, "10000:e1:0a.1", Address{0x10000, 0xe1, 10, 1}.String())
}

func TestParseAddressRejectsEverythingElse(t *testing.T) {
	for text, why := range map[string]string{
		"":                  "malformed",
		"eth0":              "malformed",
		"03:00.0":           "the domain is missing (most likely 0000:03:00.0)",
		"03:20.0":           "malformed",
		"000:03:00.0":       "4 to 8 digits",
		"123456789:03:00.0": "4 to 8 digits",
		"00000:03:00.0":     "leading zeros beyond 4 digits",
		"0000:3:00.0":       "malformed",
		"0000:03:00":        "malformed",
		"0000:03:00.":       "malformed",
		"0000:03:00.00":     "malformed",
		"0000:03.00.0":      "malformed",
		"0000-03-00.0":      "malformed",
		"0000:03:20.0":      "devices 00 to 1f",
		"0000:03:00.8":      "functions 0 to 7",
		"0000:03:00.g":      "not hexadecimal",
		"+000:03:00.0":      "not hexadecimal",
		"00_0:03:00.0":      "not hexadecimal",
		"0x00:03:00.0":      "not hexadecimal",
		" 0000:03:00.0":     "not hexadecimal",
		"0000:03:00.0 ":     "malformed",
	} {
		_, err := ParseAddress(text)
		require.ErrorContains(t, err, why, text)
		require.ErrorContains(t, err, "such as 0000:03:00.0", text)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"", "0000:03:00.0", "10000:e1:00.1", "03:00.0", "ffffffff:ff:1f.7", "0000:03:20.0", "::::.", "eth0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		again, err := ParseAddress(a.String())
		require.NoError(t, err)
		require.Equal(t, a, again)
		require.Len(t, a.String(), len(s)) // only the case of digits may differ
	})
}

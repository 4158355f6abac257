package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNumbersHaveUnitsAndFewDigits(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 256 << 20: "256 MiB", 2411725: "2.3 MiB", 5 << 40: "5 TiB", 1 << 60: "1048576 TiB",
	} {
		require.Equal(t, want, size(n))
	}
	for d, want := range map[time.Duration]string{
		0: "0 ns", 999: "999 ns", 1500: "1.5 us", 14 * time.Millisecond: "14.0 ms", 2500 * time.Millisecond: "2.5 s",
		90 * time.Minute: "1h30m0s", -12: "-12 ns", -3 * time.Millisecond: "-3.0 ms",
	} {
		require.Equal(t, want, span(d))
	}
}

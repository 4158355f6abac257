package main

import (
	"fmt"
	"time"
)

// size is a number of bytes with a unit that leaves few digits.
func size(n uint64) string {
	v, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && v >= 1024 {
		v, units = v/1024, units[1:]
	}
	if n < 1024 || v == float64(uint64(v)) {
		return fmt.Sprintf("%.0f %s", v, units[0])
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}

// span is a time with a unit that leaves few digits.
func span(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%s%d ns", sign, d)
	case d < time.Millisecond:
		return fmt.Sprintf("%s%.1f us", sign, float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%s%.1f ms", sign, float64(d)/1e6)
	case d < time.Minute:
		return fmt.Sprintf("%s%.1f s", sign, d.Seconds())
	}
	return sign + d.Round(time.Second).String()
}

package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, as a flag: "256MiB", "2GiB", "1.5GB", "4096".
type Size int64

var units = []struct {
	name  string
	bytes int64
}{ // the longer names first: every one of them ends in B
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// ParseSize reads a size.
func ParseSize(s string) (Size, error) {
	number, unit := s, int64(1)
	for _, u := range units {
		if n, found := strings.CutSuffix(s, u.name); found {
			number, unit = n, u.bytes
			break
		}
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	bytes := v * float64(unit)
	if err != nil || math.IsNaN(v) || v < 0 || bytes > 1<<62 || bytes != math.Trunc(bytes) {
		return 0, fmt.Errorf("size %q: want a number of bytes with its unit, such as 256MiB or 2GiB", s)
	}
	return Size(bytes), nil
}

// String gives the size in the largest unit that divides it.
func (s Size) String() string {
	for i := 3; i >= 0; i-- {
		if s != 0 && int64(s)%units[i].bytes == 0 {
			return fmt.Sprintf("%d%s", int64(s)/units[i].bytes, units[i].name)
		}
	}
	return fmt.Sprintf("%dB", int64(s))
}

// Set implements flag.Value.
func (s *Size) Set(text string) error {
	v, err := ParseSize(text)
	if err == nil {
		*s = v
	}
	return err
}

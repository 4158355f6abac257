package value

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes: "256MiB", "2GiB", "1.5GB", "4096".
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

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error { return s.Set(string(text)) }

// Time is a time span: "90s", "1h30m", and days, "7d" or "1d12h".
type Time time.Duration

const day = 24 * time.Hour

// ParseTime reads a time span of 0 or more.
func ParseTime(s string) (Time, error) {
	bad := fmt.Errorf("time %q: want a number with its unit, such as 90s, 15m, 1h30m or 7d", s)
	rest, days := s, 0.0
	if before, after, found := strings.Cut(s, "d"); found {
		var err error
		if days, err = strconv.ParseFloat(before, 64); err != nil || math.IsNaN(days) {
			return 0, bad
		}
		rest = after
	}
	var d time.Duration
	if rest != "" || days == 0 && !strings.HasSuffix(s, "d") {
		var err error
		if d, err = time.ParseDuration(rest); err != nil {
			return 0, bad
		}
	}
	total := days*float64(day) + float64(d)
	if days < 0 || d < 0 || total > math.MaxInt64/2 {
		return 0, bad
	}
	return Time(time.Duration(days*float64(day)) + d), nil
}

// Span is the time as the standard library has it.
func (t Time) Span() time.Duration { return time.Duration(t) }

// String leaves out what is zero: 1h rather than 1h0m0s.
func (t Time) String() string {
	d, days := t.Span(), ""
	if n := d / day; n > 0 {
		if days, d = fmt.Sprintf("%dd", n), d%day; d == 0 {
			return days
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}

// Set implements flag.Value.
func (t *Time) Set(text string) error {
	v, err := ParseTime(text)
	if err == nil {
		*t = v
	}
	return err
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Time) UnmarshalText(text []byte) error { return t.Set(string(text)) }

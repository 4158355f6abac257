package units

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span of 0 or more.
//
//	90           seconds
//	90s  200ms   a number and its unit: ns, us, ms, s, m, h, d
//	1d12h        several, the largest unit first
type Duration time.Duration

// Day is 24 hours.
const Day = 24 * time.Hour

// ParseDuration parses a time span of 0 or more.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("duration %q: must be seconds or a number with its unit, such as 90, 90s, 15m, 1h30m or 14d", s)
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		if !(seconds >= 0) || seconds > math.MaxInt64/2e9 {
			return 0, bad
		}
		return Duration(math.Round(seconds * 1e9)), nil
	}
	rest, days := s, 0.0
	if before, after, found := strings.Cut(s, "d"); found {
		var err error
		if days, err = strconv.ParseFloat(before, 64); err != nil || math.IsNaN(days) {
			return 0, bad
		}
		rest = after
	}
	var d time.Duration
	if rest != "" || !strings.HasSuffix(s, "d") {
		var err error
		if d, err = time.ParseDuration(rest); err != nil {
			return 0, bad
		}
	}
	total := days*float64(Day) + float64(d)
	if days < 0 || d < 0 || total > math.MaxInt64/2 {
		return 0, bad
	}
	return Duration(time.Duration(days*float64(Day)) + d), nil
}

// Duration returns the standard library's type.
func (d Duration) Duration() time.Duration { return time.Duration(d) }

// String omits units that are zero: 1h instead of 1h0m0s.
func (d Duration) String() string {
	rest, days := d.Duration(), ""
	if n := rest / Day; n > 0 {
		if days, rest = fmt.Sprintf("%dd", n), rest%Day; rest == 0 {
			return days
		}
	}
	s := rest.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}

// Set implements pflag.Value.
func (d *Duration) Set(text string) error {
	v, err := ParseDuration(text)
	if err == nil {
		*d = v
	}
	return err
}

// Type implements pflag.Value.
func (*Duration) Type() string { return "DURATION" }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error { return d.Set(string(text)) }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

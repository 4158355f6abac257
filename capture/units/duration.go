package units

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span of 0 or more.
//
//	90           seconds
//	90s  200ms   a number and its unit: ns, us, ms, s, m, h, d, w
//	5min 2weeks  units may be written sec, min, hour, day, week, or in full
//	1d12h        several, the largest unit first
type Duration time.Duration

// Day is 24 hours.
const Day = 24 * time.Hour

// spanUnits are the units of time and their names.
var spanUnits = []struct {
	length time.Duration
	names  []string
}{
	{time.Second, []string{"s", "sec", "secs", "second", "seconds"}},
	{time.Minute, []string{"m", "min", "mins", "minute", "minutes"}},
	{time.Hour, []string{"h", "hour", "hours"}},
	{Day, []string{"d", "day", "days"}},
	{7 * Day, []string{"w", "week", "weeks"}},
	{time.Millisecond, []string{"ms"}},
	{time.Microsecond, []string{"us", "µs", "μs"}},
	{time.Nanosecond, []string{"ns"}},
}

// spanUnit returns the length of a unit; 0: there is none of this name.
func spanUnit(name string) time.Duration {
	for _, u := range spanUnits {
		if slices.Contains(u.names, name) {
			return u.length
		}
	}
	return 0
}

// spanPart is a number and its unit at the start of a text.
var spanPart = regexp.MustCompile(`^(\d+\.?\d*|\.\d+)([a-zµμ]+)`)

// ParseDuration parses a time span of 0 or more.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("duration %q: must be seconds or a number with its unit, such as 90, 90s, 15m, 1h30m, 14d or 2w", s)
	if seconds, err := strconv.ParseFloat(s, 64); err == nil {
		if !(seconds >= 0) || seconds > math.MaxInt64/2e9 {
			return 0, bad
		}
		return Duration(math.Round(seconds * 1e9)), nil
	}
	var total time.Duration
	last := time.Duration(math.MaxInt64)
	if s == "" {
		return 0, bad
	}
	for rest := s; rest != ""; {
		m := spanPart.FindStringSubmatch(rest)
		if m == nil {
			return 0, bad
		}
		unit := spanUnit(m[2])
		whole, decimals, _ := strings.Cut(m[1], ".")
		ns, ok := nanoseconds(whole, decimals, unit)
		if span := time.Duration(ns); ok && unit > 0 && unit < last && span <= math.MaxInt64/2-total {
			total, last, rest = total+span, unit, rest[len(m[0]):]
			continue
		}
		return 0, bad
	}
	return Duration(total), nil
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

package main

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/units"
)

// Layouts of a date and time without zone, and of a time of today.
var (
	dated = []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"}
	today = []string{"15:04:05", "15:04"}
)

// parseTime parses a time as the usage describes it; "+1m" is relative to from. Without
// a zone it is in that of now. The empty text is the zero time.
func parseTime(text string, now, from time.Time) (time.Time, error) {
	switch {
	case text == "":
		return time.Time{}, nil
	case text == "now":
		return now, nil
	case text[0] == '-' || text[0] == '+':
		d, err := units.ParseDuration(text[1:])
		if bare := strings.Trim(text[1:], "0123456789.") == ""; err != nil || bare {
			return time.Time{}, fmt.Errorf("%q is no duration: write -5m, -1h30m or -1d", text)
		}
		if text[0] == '-' {
			return now.Add(-d.Duration()), nil
		}
		if from.IsZero() {
			return time.Time{}, fmt.Errorf("%q is relative to --from, which is not given", text)
		}
		return from.Add(d.Duration()), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range dated {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range today {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), now.Location()), nil
		}
	}
	if t, ok := unixTime(text); ok {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-11-21T14:00:00Z, \"2026-11-21 14:00\", 14:00, -5m, now or seconds since 1970", text)
}

// unixTime parses seconds since 1970 with up to nine decimals.
func unixTime(text string) (time.Time, bool) {
	if strings.Trim(text, "0123456789.") != "" || len(text) > 30 {
		return time.Time{}, false
	}
	sec, ok := new(big.Rat).SetString(text)
	if !ok {
		return time.Time{}, false
	}
	ns := sec.Mul(sec, big.NewRat(1e9, 1))
	n := new(big.Int).Quo(ns.Num(), ns.Denom())
	if !n.IsInt64() {
		return time.Time{}, false
	}
	return time.Unix(0, n.Int64()), true
}

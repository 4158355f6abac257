package units

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// The years in which a number without further signs is expected to lie, and the least
// digits of one that has a meaning without @: a date.
const (
	firstYear = 1990
	lastYear  = 2100
	shortest  = len("20060102")
)

// reading is a meaning that a number may have.
type reading struct {
	at    time.Time
	write string // a text that has this meaning only
}

func (r reading) plausible() bool {
	y := r.at.UTC().Year()
	return y >= firstYear && y <= lastYear
}

// number parses a number: seconds, milliseconds, microseconds or nanoseconds since
// 1970, or, without a fraction and without @, a date. It has the only meaning that lies
// in the years from firstYear to lastYear. With @ it is in seconds if none does. A short
// number without @ may be a time of the day or a year, and is refused.
func (p timeParser) number(at bool, digits, decimals string) (time.Time, error) {
	var all []reading
	var wrong error
	if !at && decimals == "" {
		all, wrong = p.digits(digits)
	}
	dates := len(all)
	inSeconds, ok := sinceEpoch(digits, decimals, time.Second)
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond, time.Nanosecond} {
		if t, ok := sinceEpoch(digits, decimals, unit); ok {
			all = append(all, reading{t, "@" + seconds(t)})
		}
	}
	var likely []reading
	for _, r := range all {
		if r.plausible() && (at || len(digits) >= shortest) {
			likely = append(likely, r)
		}
	}
	switch {
	case len(likely) == 1:
		return likely[0].at, nil
	case len(likely) > 1:
		all = likely
	case wrong != nil:
		return time.Time{}, wrong
	case at && ok:
		return inSeconds, nil
	case ok: // of the units, the one that is written most
		all = append(all[:dates], reading{inSeconds, "@" + seconds(inSeconds)})
	case len(all) == 0:
		return time.Time{}, errors.New("the number is outside the years 1678 to 2261. Write seconds since 1970, or a date")
	}
	return time.Time{}, ambiguous(all)
}

// ambiguous returns the error about a number with several meanings.
func ambiguous(all []reading) error {
	var texts []string
	for _, r := range all {
		texts = append(texts, fmt.Sprintf("%s for %s", r.write, r.at.UTC().Format(time.RFC3339Nano)))
		if len(texts) == maxReadings {
			break
		}
	}
	return fmt.Errorf("the number has several meanings. Write %s", strings.Join(texts, ", or "))
}

// maxReadings limits the length of an error.
const maxReadings = 3

// digits returns the meanings of digits as a date or a time of the day. wrong is the
// error of the only form that has so many digits.
func (p timeParser) digits(text string) (all []reading, wrong error) {
	add := func(write string) {
		t, err := p.calendar(write)
		if err != nil {
			wrong = err
			return
		}
		all = append(all, reading{t, write})
	}
	switch n := len(text); n {
	case 1, 2:
		add(text + ":00")
	case 4:
		add(text[:2] + ":" + text[2:])
		wrong = nil // or it is a year
	case 6:
		add(text[:2] + ":" + text[2:4] + ":" + text[4:])
		add("20" + text[:2] + "-" + text[2:4] + "-" + text[4:])
		wrong = nil
	case 8:
		add(text[:4] + "-" + text[4:6] + "-" + text[6:])
	case 10:
		add(text[:4] + "-" + text[4:6] + "-" + text[6:8] + "T" + text[8:] + ":00")
		wrong = nil
	case 12, 14:
		date := text[:4] + "-" + text[4:6] + "-" + text[6:8] + "T" + text[8:10] + ":" + text[10:12]
		if n == 14 {
			date += ":" + text[12:]
		}
		add(date)
	}
	return all, wrong
}

// sinceEpoch returns the time that is a number of units after 1970.
func sinceEpoch(digits, decimals string, unit time.Duration) (time.Time, bool) {
	ns, ok := nanoseconds(digits, decimals, unit)
	return time.Unix(0, ns), ok
}

// nanoseconds returns the length of a number of units. Digits behind the nanosecond are
// cut off.
func nanoseconds(digits, decimals string, unit time.Duration) (ns int64, ok bool) {
	if len(digits)+len(decimals) > 60 {
		return 0, false
	}
	n, ok := new(big.Int).SetString(digits+decimals, 10)
	if !ok {
		return 0, false
	}
	n.Mul(n, big.NewInt(int64(unit)))
	n.Quo(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(len(decimals))), nil))
	return n.Int64(), n.IsInt64()
}

// seconds prints a time as seconds since 1970 without zeros at the end.
func seconds(t time.Time) string {
	s := fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

package units

import (
	"fmt"
	"strings"
	"time"
)

// NoLimit is the text of a side on which a Window is open.
const NoLimit = "none"

// Window is a span of time: From is in it, To is not. A zero time is no limit.
type Window struct {
	From, To time.Time
}

// ParseWindow parses the two sides of a window: times as for ParseTime, or NoLimit. to
// may also be a span after from, such as +1m. Errors begin with "from: " or "to: ".
func ParseWindow(from, to string, now time.Time) (w Window, err error) {
	p := timeParser{now: now}
	if w.From, err = p.side(from); err != nil {
		return Window{}, fmt.Errorf("from: %w", err)
	}
	p.from = w.From
	if w.To, err = p.side(to); err != nil {
		return Window{}, fmt.Errorf("to: %w", err)
	}
	if !w.From.IsZero() && !w.To.IsZero() && !w.To.After(w.From) {
		return Window{}, fmt.Errorf("to: time %q: the window is empty, it would be from %s to %s. Write a later end", to, stamp(w.From), stamp(w.To))
	}
	return w, nil
}

// side parses a side of a window; the zero time is no limit.
func (p timeParser) side(text string) (time.Time, error) {
	if strings.TrimSpace(text) == NoLimit {
		return time.Time{}, nil
	}
	return p.parse(text)
}

// stamp prints a time with all its decimals and its offset.
func stamp(t time.Time) string { return t.Format(time.RFC3339Nano) }

// String returns the window in UTC and in the zone of its times:
// "2026-11-28T17:00:00Z to 18:00:00Z (18:00 to 19:00 CET)".
func (w Window) String() string {
	if w.From.IsZero() && w.To.IsZero() {
		return "no limits"
	}
	utc := sides(w.From.UTC(), w.To.UTC(), "2006-01-02T", func(t time.Time) string { return t.Format("15:04:05.999999999Z") }, true)
	zone := w.From.Location()
	if w.From.IsZero() {
		zone = w.To.Location()
	}
	from, to := w.From.In(zone), w.To.In(zone)
	if inUTC(from) && inUTC(to) {
		return utc
	}
	dated := !from.IsZero() && dateOf(from) != dateOf(from.UTC()) || !to.IsZero() && dateOf(to) != dateOf(to.UTC())
	oneZone := from.IsZero() || to.IsZero() || clockZone(from) == clockZone(to)
	local := sides(from, to, "2006-01-02 ", func(t time.Time) string {
		text := strings.TrimSuffix(t.Format("15:04:05.999999999"), ":00")
		if !oneZone || t.Equal(to) || to.IsZero() {
			text += " " + clockZone(t)
		}
		return text
	}, dated)
	return utc + " (" + local + ")"
}

// inUTC reports whether a side needs no local time beside that in UTC.
func inUTC(t time.Time) bool {
	name, seconds := t.Zone()
	return t.IsZero() || name == "UTC" && seconds == 0 // TZ=UTC+3 has the name, too
}

// clockZone returns the abbreviation of a time's zone, or its offset where a rule such as
// UTC+3 gives the name of another zone.
func clockZone(t time.Time) string {
	name, seconds := t.Zone()
	if seconds != 0 && (name == "UTC" || name == "GMT") {
		return t.Format("-07:00")
	}
	return name
}

// sides prints both sides of a window. The day is printed if dated or if the sides are
// of different days, and not twice.
func sides(from, to time.Time, day string, clock func(time.Time) string, dated bool) string {
	first, last := "the beginning", "the end"
	oneDay := !from.IsZero() && dateOf(from) == dateOf(to)
	if !to.IsZero() {
		if last = clock(to); !oneDay && (dated || !from.IsZero()) {
			last = to.Format(day) + last
		}
	}
	if !from.IsZero() {
		if first = clock(from); dated || !oneDay && !to.IsZero() {
			first = from.Format(day) + first
		}
	}
	return first + " to " + last
}

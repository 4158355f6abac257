package units

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxOffset exceeds all distances between local time and UTC.
const maxOffset = 26 * time.Hour

// offsets returns the distances from UTC in use in a zone around a local time, which
// is given as if it were UTC.
func offsets(local time.Time, zone *time.Location) (all []time.Duration) {
	for t := local.Add(-maxOffset); t.Before(local.Add(maxOffset)); t = t.Add(time.Hour) {
		_, seconds := t.In(zone).Zone()
		if d := time.Duration(seconds) * time.Second; !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// readings returns the points in time at which the clocks of a zone show a local time,
// which is given as if it were UTC: one, or two where clocks are set back, or none
// where they are set forward.
func readings(local time.Time, zone *time.Location) (all []time.Time) {
	for _, offset := range offsets(local, zone) {
		t := local.Add(-offset).In(zone)
		if _, seconds := t.Zone(); time.Duration(seconds)*time.Second == offset {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// resolve returns the point in time at which the clocks of a zone show a day and time.
// With name it is the one at which the zone has this abbreviation.
func resolve(day date, c clock, zone *time.Location, name string) (time.Time, error) {
	local := time.Date(day.year, day.month, day.day, c.hour, c.min, c.sec, c.nsec, time.UTC)
	all := readings(local, zone)
	if name != "" {
		named := slices.DeleteFunc(slices.Clone(all), func(t time.Time) bool { return !strings.EqualFold(t.Format("MST"), name) })
		if len(named) != 1 {
			return time.Time{}, fmt.Errorf("%s is not the zone in %v at that time. Write an offset such as +01:00", name, zoneName(zone))
		}
		return named[0], nil
	}
	switch len(all) {
	case 1:
		return all[0], nil
	case 0:
		return time.Time{}, missing(local, zone)
	}
	var texts []string
	for _, t := range all {
		texts = append(texts, fmt.Sprintf("%s (%s)", t.Format(time.RFC3339Nano), t.Format("MST")))
	}
	return time.Time{}, fmt.Errorf("the clocks of %v show it twice. Write %s", zoneName(zone), strings.Join(texts, " or "))
}

// missing returns the error about a local time that the clocks of a zone skip.
func missing(local time.Time, zone *time.Location) error {
	for _, offset := range offsets(local, zone) {
		after := local.Add(-offset).In(zone)
		change, _ := after.ZoneBounds()
		before := change.Add(-1).In(zone)
		_, seconds := before.Zone()
		if time.Duration(seconds)*time.Second != offset {
			continue
		}
		was := change.In(time.FixedZone("", seconds))
		return fmt.Errorf("the clocks of %v skip it: from %s to %s. Write a time before or after, such as %s",
			zoneName(zone), was.Format("15:04"), change.In(zone).Format("15:04 MST"), change.In(zone).Format(time.RFC3339))
	}
	return fmt.Errorf("the clocks of %v skip it. Write a time with an offset such as +01:00", zoneName(zone))
}

// startOfDay returns the first moment of a day in a zone. It is not 00:00 where
// clocks are set forward at midnight.
func startOfDay(day date, zone *time.Location) (time.Time, error) {
	midnight := time.Date(day.year, day.month, day.day, 0, 0, 0, 0, time.UTC)
	if all := readings(midnight, zone); len(all) > 0 {
		return all[0], nil
	}
	for _, offset := range offsets(midnight, zone) {
		start, _ := midnight.Add(-offset).In(zone).ZoneBounds()
		if !start.IsZero() && dateOf(start.In(zone)) == day {
			return start.In(zone), nil
		}
	}
	return time.Time{}, fmt.Errorf("the clocks of %v skip this day. Write another one", zoneName(zone))
}

// zoneName returns the name of a zone for messages.
func zoneName(zone *time.Location) string {
	if zone == time.Local && zone.String() == "Local" {
		return "this machine"
	}
	return zone.String()
}

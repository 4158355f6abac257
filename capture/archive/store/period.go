package store

import (
	"fmt"
	"time"
)

// A period begins at a multiple of its length since midnight UTC; the last one of
// a day ends at midnight.

const day = 24 * time.Hour

// CheckPeriod returns an error if files cannot be rotated at multiples of every. 0
// means no rotation.
func CheckPeriod(every time.Duration) error {
	if every != 0 && (every < time.Second || every > day) {
		return fmt.Errorf("new files every %v: choose 1s to 24h, or 0 for only when they are full", every)
	}
	return nil
}

// PeriodStart returns the start of the period that t lies in; zero if every is 0.
func PeriodStart(t time.Time, every time.Duration) time.Time {
	if every == 0 {
		return time.Time{}
	}
	t = t.UTC()
	midnight := t.Truncate(day) // a multiple of 24 h since year 1 is midnight UTC
	return midnight.Add(t.Sub(midnight) / every * every)
}

// PeriodEnd returns the end of the period that t lies in. every must not be 0.
func PeriodEnd(t time.Time, every time.Duration) time.Time {
	end, midnight := PeriodStart(t, every).Add(every), t.UTC().Truncate(day).Add(day)
	if end.After(midnight) {
		return midnight
	}
	return end
}

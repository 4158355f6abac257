package capture

import "fmt"

// shownStalls is how many stalls the ledger's text names; JSON has all it keeps.
const shownStalls = 3

// stalls writes what of a poller's stalls could have cost frames.
func (q QueueAccount) stalls(line func(depth int, n uint64, unit, what string)) {
	if q.Risky == 0 {
		return
	}
	line(1, q.Risky, "times", "not polled for longer than the port holds what arrives; the longest:")
	for i, s := range q.Worst {
		if i == shownStalls || !s.Risky {
			return
		}
		what := s.Cause
		if s.Listener != "" {
			what += " (" + s.Listener + ")"
		}
		line(2, uint64(s.Length.Microseconds()), "us", fmt.Sprintf("until %s, with %v of room: %s", s.At.Format("15:04:05.000"), short(s.Holds), what))
	}
}

//go:build race

package dedup

// raceEnabled reports whether the race detector is on, which slows everything down.
const raceEnabled = true

//go:build race

package clock

// raceEnabled reports whether the race detector is on, which slows everything down.
const raceEnabled = true

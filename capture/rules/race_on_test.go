//go:build race

package rules

// raceEnabled reports whether the race detector is on, which slows tests down.
const raceEnabled = true

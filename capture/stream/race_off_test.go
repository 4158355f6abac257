//go:build !race

package stream

// raceEnabled reports whether the race detector is on, which slows everything down.
const raceEnabled = false

//go:build !race

package flow

// raceEnabled reports whether the race detector is on, which slows everything down.
const raceEnabled = false

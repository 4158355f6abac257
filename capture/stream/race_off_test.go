//go:build !race

package stream

// raceEnabled tells whether the race detector makes everything slower.
const raceEnabled = false

//go:build !race

package clock

// raceEnabled tells whether the race detector makes everything slower.
const raceEnabled = false

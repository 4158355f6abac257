//go:build !race

package filter

// raceEnabled tells whether the race detector makes everything slower.
const raceEnabled = false

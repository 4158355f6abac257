//go:build race

package rules

// raceEnabled tells whether the race detector makes everything slower.
const raceEnabled = true

//go:build !race

package dedup

// raceEnabled tells whether the race detector makes everything slower.
const raceEnabled = false

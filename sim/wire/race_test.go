//go:build race

package wire

// slow: the race detector makes long loops ten times longer.
const slow = true

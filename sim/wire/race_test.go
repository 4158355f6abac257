//go:build race

package wire

// slow is true with the race detector, which makes long loops ten times longer.
const slow = true

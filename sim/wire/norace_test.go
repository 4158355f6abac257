//go:build !race

package wire

const slow = false

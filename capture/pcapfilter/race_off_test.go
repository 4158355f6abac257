//go:build !race

package pcapfilter

// stride: one frame of the captures in so many is filtered; thin: one odd frame and
// one expression in so many.
const (
	stride = 11
	thin   = 1
)

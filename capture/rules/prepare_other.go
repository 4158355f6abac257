//go:build !amd64

package rules

import "github.com/ixcap/ixcap/ring"

func prepare(frames []ring.Frame, keep []uint32, most uint32) (bytes uint64, plain bool) {
	return prepareGo(frames, keep, most)
}

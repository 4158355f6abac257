//go:build !amd64

package dedup

import "github.com/ixcap/ixcap/ring"

func hasAES() bool { return false }

func hashFramesAES(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int {
	return hashFramesGo(frames, keep, out, p)
}

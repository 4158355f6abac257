//go:build !amd64

package dedup

import (
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

func hasAES() bool { return false }

func hashFramesAES(frames []ring.Frame, keep []uint32, out []uint64, p *hashing) int {
	return hashFramesGo(frames, keep, out, p)
}

func hasAVX2() bool { return false }

func enterNewAVX2(*Table, int, []ring.Frame, []uint64, []clock.Stamp, []uint32) int { return 0 }

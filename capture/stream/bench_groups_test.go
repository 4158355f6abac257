package stream

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/ixcap/ixcap/ring"
)

// flowFrames are frames of 60 bytes of TCP over IPv4, each of another flow.
func flowFrames(n int) []ring.Frame {
	frames := make([]ring.Frame, n)
	for i := range frames {
		data := make([]byte, 60)
		copy(data[12:], []byte{8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6})
		copy(data[26:], []byte{10, 0, byte(i >> 8), byte(i), 10, 1, 0, 1})
		binary.BigEndian.PutUint32(data[34:], uint32(1024+7*i)<<16|443)
		frames[i] = ring.Frame{Data: data, Len: 60}
	}
	return frames
}

// feedGroups makes a stream with groups of mode hash, each of four members. These read
// nothing: what readers cost the producer is in BenchmarkListeners.
func feedGroups(b *testing.B, groups int) *fed {
	s := newStream(b, Config{Size: 16 * Block})
	for g := range groups {
		for range 4 {
			listen(b, s, Options{Policy: Lossy, Fanout: fmt.Sprintf("group=%d\nmode=hash", g)})
		}
	}
	return &fed{producer: s.Producer(), stamper: newStamper(b)}
}

// median returns the median of the costs of a batch in ns: all batches are assigned
// alike.
func (d *fed) median() float64 {
	slices.Sort(d.costs)
	return float64(d.stamper.Nanoseconds(d.costs[len(d.costs)/2]))
}

// BenchmarkGroups measures what fan-out groups add to the producer's cost of a frame of
// 60 bytes: AppendBatch and Publish of batches of 64, in turns with a stream that has
// none. The median of the batches counts.
func BenchmarkGroups(b *testing.B) {
	const batch = 64
	frames := flowFrames(4096)
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			with, without := feedGroups(b, n), feedGroups(b, 0)
			at := 0
			for b.Loop() {
				with.store(frames[at : at+batch])
				without.store(frames[at : at+batch])
				at = (at + batch) % len(frames)
			}
			base := without.median() / batch
			b.ReportMetric(base, "ns/frame")
			b.ReportMetric(with.median()/batch-base, "added-ns/frame")
		})
	}
}

package dedup

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// batch is a poller's batch. Its frames differ by a counter, like real frames by IPv4
// identification and checksum, so that only the requested share repeats.
type batch struct {
	frames []ring.Frame
	stamps []clock.Stamp
	dup    []bool
	n      uint64
	share  uint64 // percent that repeat the frame before
	last   uint64
}

func newBatch(size int, share uint64) *batch {
	b := &batch{frames: make([]ring.Frame, 64), stamps: make([]clock.Stamp, 64), dup: make([]bool, 64), share: share}
	for i := range b.frames {
		b.frames[i] = ring.Frame{Data: make([]byte, size), Len: uint32(size), Info: ring.HasHash}
	}
	return b
}

func (b *batch) next() {
	for i := range b.frames {
		if b.n++; b.n%100 >= b.share {
			b.last = b.n * 0x9e3779b97f4a7c15
		}
		f := &b.frames[i]
		f.Hash = uint32(b.last >> 32)
		binary.LittleEndian.PutUint64(f.Data[24:], b.last)
		b.stamps[i] = clock.Stamp(1_700_000_000 + b.n/15e6 | b.n%15e6*66<<32)
	}
}

// BenchmarkDedup measures the default table, one with one pool, and HPCAP's.
func BenchmarkDedup(b *testing.B) {
	for _, c := range []Config{{Pools: 4}, {Pools: 1}, {Pools: 1, Bytes: 70, Index: IndexRSS}} {
		for _, table := range []struct {
			name    string
			records int
		}{{"hot", 256}, {"cold", defaultRecords}} {
			for _, size := range []int{60, 256, 1514} {
				for _, share := range []uint64{0, 30} {
					c.Records = table.records
					b.Run(fmt.Sprintf("index=%v/pools=%d/table=%s/size=%d/duplicates=%d", c.Index, c.Pools, table.name, size, share), func(b *testing.B) {
						t := newTable(b, c)
						in := newBatch(size, share)
						for n := 0; n < b.N; n += len(in.frames) {
							in.next()
							t.Mark(in.frames, in.stamps, in.dup)
						}
						got := float64(t.Stats().Duplicates) / float64(t.Stats().Frames) * 100
						require.InDelta(b, share, got, 5+6400/float64(b.N))
					})
				}
			}
		}
	}
}

// BenchmarkDedupLimit measures the generation of the frames alone.
func BenchmarkDedupLimit(b *testing.B) {
	in := newBatch(60, 0)
	for n := 0; n < b.N; n += len(in.frames) {
		in.next()
	}
}

// BenchmarkDuplicate measures Duplicate, a frame at a time.
func BenchmarkDuplicate(b *testing.B) {
	for _, size := range []int{60, 1514} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			t := newTable(b, Config{})
			in := newBatch(size, 0)
			for n := 0; n < b.N; n += len(in.frames) {
				in.next()
				for i := range in.frames {
					t.Duplicate(&in.frames[i], uint64(i))
				}
			}
		})
	}
}

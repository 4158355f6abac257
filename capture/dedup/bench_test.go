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
	keep   []uint32
	n      uint64
	share  uint64 // percent that repeat the frame before
	last   uint64
}

func newBatch(size int, share uint64) *batch {
	b := &batch{frames: make([]ring.Frame, 64), stamps: make([]clock.Stamp, 64), keep: make([]uint32, 64), share: share}
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
		b.keep[i] = 1<<32 - 1
		b.stamps[i] = clock.Stamp(1_700_000_000 + b.n/15e6 | b.n%15e6*66<<32)
	}
}

// recent stores the last frames, all of one size.
type recent struct {
	frames [1 << 15][]byte
	next   uint64
}

func newRecent(size int) *recent {
	r := &recent{}
	for i := range r.frames {
		r.frames[i] = make([]byte, size)
	}
	return r
}

func (r *recent) Next() uint64 { return r.next }

func (r *recent) Stored(number uint64) (ring.Frame, bool) {
	if r.next-number > uint64(len(r.frames)) {
		return ring.Frame{}, false
	}
	data := r.frames[number%uint64(len(r.frames))]
	return ring.Frame{Data: data, Len: uint32(len(data))}, true
}

func (r *recent) add(frames []ring.Frame, keep []uint32) {
	for i := range frames {
		if keep[i] != 0 {
			copy(r.frames[r.next%uint64(len(r.frames))], frames[i].Data)
			r.next++
		}
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
						store := newRecent(size)
						for n := 0; n < b.N; n += len(in.frames) {
							in.next()
							t.Table.Mark(store, in.frames, in.stamps, in.keep)
							store.add(in.frames, in.keep)
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

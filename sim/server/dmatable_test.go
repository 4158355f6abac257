package server

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table is compared with one flag per page of small address spaces, at both ends
// of the 64-bit one.
func TestTableAgreesWithASimpleModel(t *testing.T) {
	const pages, page = 64, 4096
	for _, base := range []uint64{0, ^uint64(0) - (pages*page - 1)} {
		rnd := rand.New(rand.NewPCG(1, base))
		var table dmaTable
		var owner [pages]uint64       // first page + 1 of the span
		for i := range uint64(3000) { // others, so that there are several chunks
			table.add(span{first: 1<<40 + i*2*page, size: page})
		}
		for range 20000 {
			first := rnd.Uint64N(pages)
			n := min(1+rnd.Uint64N(8), pages-first)
			iova, size := base+first*page, n*page
			switch rnd.IntN(3) {
			case 0:
				free := true
				for _, o := range owner[first : first+n] {
					free = free && o == 0
				}
				err := table.check(iova, size, true)
				require.Equal(t, free, err == nil)
				if free {
					table.add(span{first: iova, size: size, read: true})
					for i := range n {
						owner[first+i] = first + 1
					}
				}
			case 1:
				cuts := first > 0 && owner[first] != 0 && owner[first] == owner[first-1] ||
					first+n < pages && owner[first+n] != 0 && owner[first+n] == owner[first+n-1]
				from, k, err := table.within(iova, size)
				require.Equal(t, cuts, err != nil)
				if !cuts {
					table.remove(from, k)
					clear(owner[first : first+n])
				}
			default:
				s := table.find(iova + rnd.Uint64N(page))
				require.Equal(t, owner[first] != 0, s != nil)
				if s != nil {
					require.Equal(t, base+(owner[first]-1)*page, s.first)
				}
			}
		}
	}
}

// twoSpans are a queue's descriptors and its buffers.
func twoSpans() *host {
	h := &host{}
	h.dma.add(span{first: 1 << 20, size: 64 << 10, read: true, write: true, mem: make([]byte, 64<<10)})
	h.dma.add(span{first: 1 << 30, size: 8 << 20, read: true, write: true, mem: make([]byte, 8<<20)})
	for i := range uint64(30) {
		h.dma.add(span{first: 1<<31 + i<<20, size: 4096, read: true})
	}
	return h
}

func TestBytesReturnsOneSharedRange(t *testing.T) {
	h := twoSpans()
	h.dma.add(span{first: 0x1000, size: 0x1000, read: true, mem: make([]byte, 0x1000)})
	require.Len(t, h.Bytes(1<<20+16, 2048, true), 2048)
	require.Equal(t, 2048, cap(h.Bytes(1<<20+16, 2048, true)))
	require.NotNil(t, h.Bytes(1<<20+64<<10-1, 1, false))
	require.NotNil(t, h.Bytes(1<<20, 0, false))
	require.Nil(t, h.Bytes(1<<20+64<<10-1, 2, false), "beyond the end")
	require.Nil(t, h.Bytes(1<<20-1, 2, false), "before the start")
	require.Nil(t, h.Bytes(1<<20, -1, false))
	require.Nil(t, h.Bytes(^uint64(0), 1, false))
	require.NotNil(t, h.Bytes(0x1000, 16, false))
	require.Nil(t, h.Bytes(0x1000, 16, true), "read-only")
	require.Nil(t, h.Bytes(1<<31, 16, false), "not shared")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h.Bytes(1<<20, 16, true)
		h.Bytes(1<<30, 2048, true)
		h.Bytes(1<<31, 16, false)
	}))
}

// BenchmarkBytes measures the lookups for a frame: a descriptor and a buffer.
func BenchmarkBytes(b *testing.B) {
	h := twoSpans()
	var off uint64
	for b.Loop() {
		off = (off + 2048) & (8<<20 - 1)
		_ = h.Bytes(1<<20+off>>7, 16, true)
		_ = h.Bytes(1<<30+off, 2048, true)
	}
}

func BenchmarkRecover(b *testing.B) {
	f := func() error { return nil }
	for b.Loop() {
		_ = Recover(f)
	}
}

package dma

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const top = IOVA(math.MaxUint64)

func TestNewAllocatorNormalisesItsRanges(t *testing.T) {
	for _, c := range []struct {
		name              string
		allowed, reserved []Range
		want              []Range
	}{
		{"nothing allowed", nil, nil, nil},
		{"one range", []Range{{10, 20}}, nil, []Range{{10, 20}}},
		{"empty ranges vanish", []Range{{20, 10}, {5, 5}}, []Range{{6, 4}}, []Range{{5, 5}}},
		{"unsorted, overlapping and touching ones are joined", []Range{{30, 40}, {10, 20}, {21, 25}, {15, 18}}, nil, []Range{{10, 25}, {30, 40}}},
		{"hole inside", []Range{{0, 100}}, []Range{{40, 60}}, []Range{{0, 39}, {61, 100}}},
		{"holes at the ends", []Range{{10, 100}}, []Range{{0, 10}, {100, 200}}, []Range{{11, 99}}},
		{"hole over several ranges", []Range{{0, 10}, {20, 30}, {40, 50}}, []Range{{5, 44}}, []Range{{0, 4}, {45, 50}}},
		{"several holes, unsorted and overlapping", []Range{{0, 100}}, []Range{{50, 60}, {10, 20}, {15, 30}}, []Range{{0, 9}, {31, 49}, {61, 100}}},
		{"hole covers all", []Range{{10, 20}}, []Range{{0, top}}, nil},
		{"hole equals range", []Range{{10, 20}}, []Range{{10, 20}}, nil},
		{"all addresses", []Range{{0, top}}, nil, []Range{{0, top}}},
		{"all addresses, in pieces", []Range{{1 << 63, top}, {0, 1<<63 - 1}, {5, top}}, nil, []Range{{0, top}}},
		{"hole at the top", []Range{{0, top}}, []Range{{top, top}}, []Range{{0, top - 1}}},
		{"hole at the bottom", []Range{{0, top}}, []Range{{0, 0}}, []Range{{1, top}}},
		{"only the last address", []Range{{top, top}}, nil, []Range{{top, top}}},
		{"MSI window of an x86 IOMMU with 39 bits", []Range{{0, 1<<39 - 1}}, []Range{{0xfee0_0000, 0xfeef_ffff}}, []Range{{0, 0xfedf_ffff}, {0xfef0_0000, 1<<39 - 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, NewAllocator(c.allowed, c.reserved).free)
		})
	}
}

func TestAllocReturnsTheLowestAlignedThatFits(t *testing.T) {
	a := NewAllocator([]Range{{0x1800, 0x2fff}, {0x10_0000, 0x4f_ffff}}, nil)
	for _, c := range []struct {
		size, align uint64
		want        IOVA
	}{
		{0x1000, 0x1000, 0x2000}, // past the unaligned start
		{0x800, 1, 0x1800},       // the gap that alignment left
		{0x20_0000, 0x20_0000, 0x20_0000},
		{0x10_0000, 0x1000, 0x10_0000},
		{1, 1, 0x40_0000},
		{1, 2, 0x40_0002},
	} {
		got, err := a.Alloc(c.size, c.align)
		require.NoError(t, err)
		require.Equal(t, c.want, got, "%#x", uint64(got))
	}
}

func TestAllocAtTheTopOfTheAddressSpace(t *testing.T) {
	a := NewAllocator([]Range{{top - 0xfff, top}}, nil)
	first, err := a.Alloc(0x1000, 0x1000)
	require.NoError(t, err)
	require.Equal(t, top-0xfff, first)
	require.Empty(t, a.free)
	require.NoError(t, a.Free(first))
	require.Equal(t, []Range{{top - 0xfff, top}}, a.free)

	_, err = a.Alloc(0x1001, 1)
	require.Error(t, err)
	_, err = a.Alloc(math.MaxUint64, 1)
	require.Error(t, err)

	a = NewAllocator([]Range{{top - 0xffe, top}}, nil) // the next multiple of 4096 is 2^64
	_, err = a.Alloc(1, 0x1000)
	require.Error(t, err)
	_, err = a.Alloc(1, 1<<63)
	require.Error(t, err)

	a = NewAllocator([]Range{{0, top}}, nil)
	_, err = a.Alloc(math.MaxUint64, 1)
	require.NoError(t, err)
	last, err := a.Alloc(1, 1)
	require.NoError(t, err)
	require.Equal(t, top, last)
	require.NoError(t, a.Free(last))
	require.NoError(t, a.Free(0))
	require.Equal(t, []Range{{0, top}}, a.free)
}

func TestFreeJoinsNeighbours(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		a := NewAllocator([]Range{{0x1000, 0x3fff}}, nil)
		var got [3]IOVA
		for i := range got {
			got[i], _ = a.Alloc(0x1000, 0x1000)
		}
		require.Empty(t, a.free)
		for _, i := range order {
			require.NoError(t, a.Free(got[i]))
		}
		require.Equal(t, []Range{{0x1000, 0x3fff}}, a.free, "order %v", order)
	}
}

func TestAllocatorRefuses(t *testing.T) {
	a := NewAllocator([]Range{{0x1000, 0x1fff}, {0x8000, 0x9fff}}, nil)
	_, err := a.Alloc(0, 1)
	require.ErrorContains(t, err, "size is 0")
	for _, align := range []uint64{0, 3, 0x1001} {
		_, err = a.Alloc(1, align)
		require.ErrorContains(t, err, "not a power of two")
	}
	_, err = a.Alloc(0x3000, 0x1000)
	require.EqualError(t, err, "allocate IOVA: no 12288 bytes free at a multiple of 0x1000 (largest free range: 0x8000-0x9fff)")
	require.ErrorContains(t, a.Free(0x1000), "free IOVA 0x1000: not allocated")

	first, err := a.Alloc(0x1000, 0x1000)
	require.NoError(t, err)
	require.ErrorContains(t, a.Free(first+1), "not allocated")
	require.NoError(t, a.Free(first))
	require.ErrorContains(t, a.Free(first), "not allocated")

	_, err = NewAllocator(nil, nil).Alloc(1, 1)
	require.ErrorContains(t, err, "largest free range: none")
}

// In any order of requests, allocations are aligned, allowed and disjoint, and in
// the end all addresses are free again, in one piece per allowed range.
func TestAllocatorUnderRandomUse(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	a := NewAllocator([]Range{{0x100, 0xffff}, {top - 0xffff, top}}, []Range{{0x4000, 0x4fff}, {0x8000, 0x8000}})
	whole := slices.Clone(a.free)
	var live []Range
	for range 20_000 {
		if len(live) > 0 && rnd.IntN(5) < 2 {
			i := rnd.IntN(len(live))
			require.NoError(t, a.Free(live[i].First))
			live = slices.Delete(live, i, i+1)
			continue
		}
		size, align := 1+rnd.Uint64N(0x1800), uint64(1)<<rnd.IntN(13)
		first, err := a.Alloc(size, align)
		if err != nil {
			continue
		}
		r := Range{first, first + IOVA(size-1)}
		require.Zero(t, uint64(first)%align)
		require.True(t, slices.ContainsFunc(whole, func(w Range) bool { return w.First <= r.First && r.Last <= w.Last }), "%s is not allowed", r)
		for _, l := range live {
			require.True(t, r.Last < l.First || l.Last < r.First, "%s overlaps %s", r, l)
		}
		live = append(live, r)
	}
	require.NotEmpty(t, live)
	for _, l := range live {
		require.NoError(t, a.Free(l.First))
	}
	require.Equal(t, whole, a.free)
}

package dma_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/dma/dmatest"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/hugepage/hugepagetest"
)

func ordinary(name string) hugepage.Options {
	return hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: name}
}

func TestAreaIsTheSameMemoryForProcessAndDevice(t *testing.T) {
	var m dmatest.Mapper
	a, err := dma.NewArea(&m, 5000, ordinary("area"))
	require.NoError(t, err)
	require.Len(t, a.Bytes(), 5000)
	require.Zero(t, uint64(a.IOVA())%uint64(a.Memory().PageSize()))
	a.Bytes()[4999] = 42
	seen, err := m.At(a.IOVA()+4999, 1, dma.DeviceReadsWrites)
	require.NoError(t, err)
	require.Equal(t, []byte{42}, seen)
	require.Equal(t, 1, m.Mapped())
	require.NoError(t, a.Close())
	require.NoError(t, a.Close())
	require.Zero(t, m.Mapped())
	require.Nil(t, a.Bytes())
}

func TestPoolBuffersAreInFixedPlacesAndDisjoint(t *testing.T) {
	for _, c := range []struct {
		pages                     hugepage.Size
		buffers, size, wantStride int
	}{
		{hugepage.Ordinary, 1, 1, 128},
		{hugepage.Ordinary, 100, 64, 128},
		{hugepage.Ordinary, 100, 65, 192},
		{hugepage.Ordinary, 33, 2048, 2112},
		{hugepage.Ordinary, 7, 5000, 5120},
		{hugepage.Size2M, 700, 3072, 3136},
		{hugepage.Size2M, 130, 16384, 16448},
	} {
		t.Run(fmt.Sprintf("%d of %d in %s", c.buffers, c.size, c.pages), func(t *testing.T) {
			o := ordinary("pool")
			o.Pages = c.pages
			if c.pages != hugepage.Ordinary {
				hugepagetest.Reserve(t, c.pages, hugepage.AnyNode, 2)
			}
			var m dmatest.Mapper
			p, err := dma.NewPool(&m, c.buffers, c.size, o)
			require.NoError(t, err)
			defer func() {
				require.NoError(t, p.Close())
				require.NoError(t, p.Close())
				require.Zero(t, m.Mapped())
			}()
			require.Equal(t, []int{c.buffers, c.size, c.wantStride}, []int{p.Len(), p.BufferSize(), p.Stride()})
			require.Len(t, p.All(), c.buffers*c.wantStride)
			for i := range p.Len() {
				require.Equal(t, p.Base()+dma.IOVA(i*p.Stride()), p.IOVA(i))
				b := p.Bytes(i)
				require.Len(t, b, c.size)
				require.Equal(t, c.size, cap(b))
				b[0], b[len(b)-1] = byte(i), byte(i)
				require.Equal(t, byte(i), p.All()[i*p.Stride()])
			}
			for i := range p.Len() { // no buffer shares a byte with another
				seen, err := m.At(p.IOVA(i), c.size, dma.DeviceWrites)
				require.NoError(t, err)
				require.Equal(t, []byte{byte(i), byte(i)}, []byte{seen[0], seen[len(seen)-1]})
			}
		})
	}
}

func TestPoolBoundsAreChecked(t *testing.T) {
	var m dmatest.Mapper
	p, err := dma.NewPool(&m, 3, 64, ordinary("bounds")) // a page holds 64
	require.NoError(t, err)
	defer p.Close()
	for _, i := range []int{-1, 3, 63, 64} {
		require.Panics(t, func() { p.Bytes(i) }, "%d", i)
		require.Panics(t, func() { p.IOVA(i) }, "%d", i)
	}
}

func TestPoolRefusesImpossibleSizes(t *testing.T) {
	var m dmatest.Mapper
	for _, c := range []struct {
		buffers, size int
		pages         hugepage.Size
		want          string
	}{
		{0, 2048, hugepage.Ordinary, "0 buffers of 2048 bytes: want at least one"},
		{1, 0, hugepage.Ordinary, "1 buffers of 0 bytes"},
		{-1, -1, hugepage.Ordinary, "want at least one"},
		{1, 1 << 62, hugepage.Size2M, "too large"},
		{1 << 60, 64, hugepage.Size2M, "too many"},
		{1, 64, 0, "page size 0B"},
	} {
		o := ordinary("refused")
		o.Pages = c.pages
		_, err := dma.NewPool(&m, c.buffers, c.size, o)
		require.ErrorContains(t, err, "refused: ")
		require.ErrorContains(t, err, c.want)
	}
	require.Zero(t, m.Maps())
}

func TestMemoryIsFreedWhenTheMapperRefuses(t *testing.T) {
	refusal := errors.New("no room in the IOMMU")
	m := dmatest.Mapper{Refuse: func(*hugepage.Memory) error { return refusal }}
	_, err := dma.NewArea(&m, 1, ordinary("refusedarea"))
	require.ErrorIs(t, err, refusal)
	require.ErrorContains(t, err, "map refusedarea for the device")
	_, err = dma.NewPool(&m, 4, 64, ordinary("refusedarea"))
	require.ErrorIs(t, err, refusal)
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	require.NotContains(t, string(maps), "refusedarea")
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		require.False(t, strings.Contains(target, "refusedarea"), target)
	}
}

// stubborn fails to unmap memory.
type stubborn struct{ dmatest.Mapper }

func (*stubborn) Unmap(dma.IOVA) error { return errors.New("device is gone") }

func TestCloseFreesMemoryAndReportsAFailedUnmap(t *testing.T) {
	a, err := dma.NewArea(&stubborn{}, 1, ordinary("stubborn"))
	require.NoError(t, err)
	mem := a.Memory()
	require.ErrorContains(t, a.Close(), "unmap stubborn from the device: device is gone")
	require.Nil(t, mem.Bytes())
}

func TestPoolLookupsDoNotAllocate(t *testing.T) {
	var m dmatest.Mapper
	p, err := dma.NewPool(&m, 64, 64, ordinary("noalloc"))
	require.NoError(t, err)
	defer p.Close()
	var sum int
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for i := range p.Len() {
			sum += len(p.Bytes(i)) + int(p.IOVA(i)&1)
		}
	}))
	require.NotZero(t, sum)
}

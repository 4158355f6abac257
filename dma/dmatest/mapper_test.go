package dmatest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
)

func memory(t *testing.T) *hugepage.Memory {
	mem, err := hugepage.Alloc(2*4096, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "fake"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mem.Close()) })
	return mem
}

func TestAtChecksBoundsAndAccess(t *testing.T) {
	var m Mapper
	mem := memory(t)
	reads, err := m.Map(mem, dma.DeviceReads)
	require.NoError(t, err)
	writes, err := m.Map(mem, dma.DeviceWrites)
	require.NoError(t, err)
	require.NotEqual(t, reads, writes)
	require.Greater(t, uint64(reads), uint64(1)<<32-1)

	end := reads + dma.IOVA(mem.Len())
	b, err := m.At(reads, mem.Len(), dma.DeviceReads)
	require.NoError(t, err)
	require.Same(t, &mem.Bytes()[0], &b[0])
	b, err = m.At(end-4, 4, dma.DeviceReads)
	require.NoError(t, err)
	require.Len(t, b, 4)

	for _, c := range []struct {
		iova dma.IOVA
		n    int
		acc  dma.Access
	}{
		{reads - 1, 1, dma.DeviceReads},
		{reads, mem.Len() + 1, dma.DeviceReads}, // two mappings in a row are not one
		{reads, -1, dma.DeviceReads},
		{0, 1, dma.DeviceReads},
		{^dma.IOVA(0), 2, dma.DeviceReads},
		{reads, 1, dma.DeviceWrites},
		{writes, 1, dma.DeviceReads},
		{reads, 1, dma.DeviceReadsWrites},
	} {
		_, err := m.At(c.iova, c.n, c.acc)
		require.Error(t, err, "%#x %d %d", uint64(c.iova), c.n, c.acc)
	}
}

func TestMapperCountsLeaksAndMistakes(t *testing.T) {
	var m Mapper
	mem := memory(t)
	_, err := m.Map(mem, 0)
	require.Error(t, err)
	require.Error(t, m.Unmap(0))
	iova, err := m.Map(mem, dma.DeviceReadsWrites)
	require.NoError(t, err)
	require.Equal(t, 1, m.Mapped())
	require.Error(t, m.Unmap(iova+1))
	require.NoError(t, m.Unmap(iova))
	require.Error(t, m.Unmap(iova))
	require.Zero(t, m.Mapped())
	require.Equal(t, 1, m.Maps())

	iova, err = m.Map(mem, dma.DeviceReadsWrites)
	require.NoError(t, err)
	require.NoError(t, mem.Close())
	require.ErrorContains(t, m.Unmap(iova), "closed while the device could reach it")
	_, err = m.Map(mem, dma.DeviceReads)
	require.ErrorContains(t, err, "closed")
}

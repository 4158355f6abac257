package vfiouser_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/hugepage/hugepagetest"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

func TestDMAIntoHugePages(t *testing.T) {
	servertest.NoLeak(t)
	hugepagetest.Reserve(t, hugepage.Size2M, hugepage.AnyNode, 2)
	_, d, _ := pair(t, 0)
	m, err := hugepage.Alloc(4<<20, hugepage.Options{Pages: hugepage.Size2M, Node: hugepage.AnyNode, Name: "vfiouser-test"})
	require.NoError(t, err)
	defer m.Close()
	iova, err := d.DMA().Map(m, dma.DeviceReadsWrites)
	require.NoError(t, err)
	require.Zero(t, uint64(iova)%(2<<20))
	fill(m.Bytes()[:1<<20])
	require.EqualValues(t, servertest.Done, transfer(t, bar0(t, d), servertest.Copy, uint64(iova)+1, uint64(iova)+3<<20, 1<<20-1))
	require.Equal(t, m.Bytes()[1:1<<20], m.Bytes()[3<<20:][:1<<20-1])
	require.NoError(t, d.DMA().Unmap(iova))
	require.NoError(t, d.Close())
}

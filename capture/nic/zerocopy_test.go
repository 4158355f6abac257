package nic_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
)

func TestPoolsTakeTheMemoryOfBufferAndRing(t *testing.T) {
	for _, c := range []struct{ buffer, size, chunks int }{
		{256 << 20, 0, 512},      // (127100 buffers of the stream + 4096 of the ring) / 256
		{256 << 20, 2048, 64},    //
		{256 << 20, 8, 16399},    //
		{2 << 20, 0, 19},         // more than the ring has segments
		{64 << 30, 0, 31775},     // no more than places reach: 16 GiB
		{64 << 30, 2048, 3971},   //
		{256 << 20, 264, 496},    // a ring of 3960 descriptors
		{256 << 20, 1000, 131},   // of 4000
		{128 << 20, 0, 16 + 248}, //
	} {
		got, err := nic.WithPools(nic.Config{ChunkSize: c.size}, c.buffer)
		require.NoError(t, err, c)
		require.Equal(t, c.chunks, got.Chunks, "%+v", c)
	}
	_, err := nic.WithPools(nic.Config{ChunkSize: 12}, 256<<20)
	require.ErrorContains(t, err, "chunks of 12 buffers: want a multiple of 8")
	own, err := nic.WithPools(nic.Config{Chunks: 7, ChunkSize: 8}, 256<<20)
	require.NoError(t, err)
	require.Equal(t, 7, own.Chunks)
}

func TestErrorsAfterWhichAPortCopies(t *testing.T) {
	_, err := hugepage.Alloc(1<<50, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode})
	require.ErrorContains(t, err, "the machine has")
	require.True(t, nic.LacksPools(fmt.Errorf("open: %w", err)))
	_, err = hugepage.Alloc(1<<50, hugepage.Options{Pages: hugepage.Size2M, Node: hugepage.AnyNode})
	require.Error(t, err)
	require.True(t, nic.LacksPools(err), err)
	require.True(t, nic.LacksPools(fmt.Errorf("open: %w", driver.ErrNoPools)))
	require.False(t, nic.LacksPools(errors.New("no link")))
}

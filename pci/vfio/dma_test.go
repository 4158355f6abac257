package vfio

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/dma"
)

func TestMemoryIsMappedWhereTheIOMMUAllows(t *testing.T) {
	forms(t, func(t *testing.T, r *rig, form form) {
		r.k.ranges = []dma.Range{{First: 0, Last: 0x2fffff}, {First: 0x4000000, Last: 1<<39 - 1}}
		d := r.dial(form)
		small, large := alloc(t, 4096), alloc(t, 8<<20)
		a, err := d.DMA().Map(small, dma.DeviceReadsWrites)
		require.NoError(t, err)
		require.Equal(t, dma.IOVA(1<<20), a, "the first megabyte is not allocated")
		b, err := d.DMA().Map(large, dma.DeviceReads)
		require.NoError(t, err)
		require.Equal(t, dma.IOVA(0x4000000), b, "not in the hole, not in a range too small")
		require.NoError(t, d.DMA().Unmap(a))
		require.ErrorContains(t, d.DMA().Unmap(a), "nothing is mapped there")
		_, err = d.DMA().Map(small, 0)
		require.ErrorContains(t, err, "want reads, writes or both")
		again, err := d.DMA().Map(small, dma.DeviceWrites)
		require.NoError(t, err)
		require.Equal(t, a, again)
		require.NoError(t, d.Close()) // unmaps everything: the rig checks that
		require.NoError(t, d.DMA().Unmap(b), "unmapped by Close")
		_, err = d.DMA().Map(small, dma.DeviceWrites)
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestRangesThatAreNotReportedAreAssumedSmall(t *testing.T) {
	r := newRig(t)
	r.k.noCaps = true
	d := r.dial(formGroup)
	mem := alloc(t, 4096)
	_, err := d.DMA().Map(mem, dma.DeviceWrites)
	require.NoError(t, err)
	_, err = d.space.alloc.Alloc(1<<39, 4096)
	require.ErrorContains(t, err, "largest free range: 0xfef00000-0x7fffffffff")
}

func TestFailedMappingsAreExplained(t *testing.T) {
	forms(t, func(t *testing.T, r *rig, form form) {
		call := map[bool]string{true: "VFIO_IOMMU_MAP_DMA", false: "IOMMU_IOAS_MAP"}[form == formGroup]
		d := r.dial(form)
		mem := alloc(t, 8<<20)
		r.k.memlock, r.k.locked = 8<<20, 4<<20
		r.memlock = func() (uint64, uint64) { return 8 << 20, 4 << 20 }
		_, err := d.DMA().Map(mem, dma.DeviceWrites)
		require.ErrorIs(t, err, syscall.ENOMEM)
		require.ErrorContains(t, err, call+": cannot allocate memory (8388608 bytes at IOVA 0x100000): RLIMIT_MEMLOCK is 8 MiB, locked are 4 MiB, needed are 8 MiB more. Raise it to 12 MiB or unlimited: sudo prlimit --pid $$ --memlock=unlimited")
		r.memlock = func() (uint64, uint64) { return unix.RLIM_INFINITY, 0 }
		_, err = d.DMA().Map(mem, dma.DeviceWrites)
		require.ErrorContains(t, err, ": out of memory")
		r.k.memlock, r.k.locked = 0, 0
		_, err = d.DMA().Map(mem, dma.DeviceWrites)
		require.NoError(t, err, "after a failure nothing is mapped")
		r.k.pages = 64 << 10
		r.k.short = 4096
		require.ErrorContains(t, d.Close(), "the kernel unmapped 8384512 bytes at IOVA 0x100000, want 8388608")
	})
}

func TestMappingsOfAContainerAreCounted(t *testing.T) {
	r := newRig(t)
	r.k.avail = 2
	d := r.dial(formGroup)
	var at []dma.IOVA
	for range 2 {
		a, err := d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
		require.NoError(t, err)
		at = append(at, a)
	}
	before := len(r.k.calls)
	_, err := d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
	require.ErrorContains(t, err, "VFIO_IOMMU_MAP_DMA: the container is at its limit of mappings. Raise it (echo N | sudo tee ")
	require.Len(t, r.k.calls, before, "no call of the kernel")
	require.NoError(t, d.DMA().Unmap(at[0]))
	_, err = d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
	require.NoError(t, err)
}

func TestPagesTooSmallForTheIOMMU(t *testing.T) {
	r := newRig(t)
	r.k.pages = 64<<10 | 2<<20
	d := r.dial(formGroup)
	_, err := d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
	require.EqualError(t, err, "VFIO_IOMMU_MAP_DMA: 4096 bytes in pages of 4096: the IOMMU's smallest page is 65536")
}

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
		require.Equal(t, dma.IOVA(1<<20), a, "the first megabyte stays empty")
		b, err := d.DMA().Map(large, dma.DeviceReads)
		require.NoError(t, err)
		require.Equal(t, dma.IOVA(0x4000000), b, "not in the hole, and not where it does not fit")
		require.NoError(t, d.DMA().Unmap(a))
		require.ErrorContains(t, d.DMA().Unmap(a), "nothing is mapped there")
		_, err = d.DMA().Map(small, 0)
		require.ErrorContains(t, err, "want reads, writes or both")
		again, err := d.DMA().Map(small, dma.DeviceWrites)
		require.NoError(t, err)
		require.Equal(t, a, again)
		require.NoError(t, d.Close()) // unmaps what is left: the rig looks
		require.NoError(t, d.DMA().Unmap(b), "a device that is closed has given it back")
		_, err = d.DMA().Map(small, dma.DeviceWrites)
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestAKernelThatDoesNotTellItsRangesIsTakenForASmallOne(t *testing.T) {
	r := newRig(t)
	r.k.noCaps = true
	d := r.dial(formGroup)
	mem := alloc(t, 4096)
	_, err := d.DMA().Map(mem, dma.DeviceWrites)
	require.NoError(t, err)
	_, err = d.space.alloc.Alloc(1<<39, 4096)
	require.ErrorContains(t, err, "largest free range: 0xfef00000-0x7fffffffff")
}

func TestRefusedMappingsSayWhy(t *testing.T) {
	forms(t, func(t *testing.T, r *rig, form form) {
		call := map[bool]string{true: "VFIO_IOMMU_MAP_DMA", false: "IOMMU_IOAS_MAP"}[form == formGroup]
		d := r.dial(form)
		mem := alloc(t, 8<<20)
		r.k.memlock, r.k.locked = 8<<20, 4<<20
		r.memlock = func() (uint64, uint64) { return 8 << 20, 4 << 20 }
		_, err := d.DMA().Map(mem, dma.DeviceWrites)
		require.ErrorIs(t, err, syscall.ENOMEM)
		require.ErrorContains(t, err, call+": cannot allocate memory (8388608 bytes at IOVA 0x100000): RLIMIT_MEMLOCK lets this user lock 8 MiB, this process has locked 4 MiB, and this needs 8 MiB more: raise it to 12 MiB or unlimited: sudo prlimit --pid $$ --memlock=unlimited")
		r.memlock = func() (uint64, uint64) { return unix.RLIM_INFINITY, 0 }
		_, err = d.DMA().Map(mem, dma.DeviceWrites)
		require.ErrorContains(t, err, "the kernel has no memory left for it")
		r.k.memlock, r.k.locked = 0, 0
		_, err = d.DMA().Map(mem, dma.DeviceWrites)
		require.NoError(t, err, "a refusal leaves nothing behind")
		r.k.pages = 64 << 10
		r.k.short = 4096
		require.ErrorContains(t, d.Close(), "the kernel unmapped 8384512 bytes at IOVA 0x100000, not the 8388608 mapped there")
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
	require.ErrorContains(t, err, "VFIO_IOMMU_MAP_DMA: the container has all the mappings it may have: raise dma_entry_limit")
	require.Len(t, r.k.calls, before, "the kernel need not be asked")
	require.NoError(t, d.DMA().Unmap(at[0]))
	_, err = d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
	require.NoError(t, err)
}

func TestPagesTooSmallForTheIOMMU(t *testing.T) {
	r := newRig(t)
	r.k.pages = 64<<10 | 2<<20
	d := r.dial(formGroup)
	_, err := d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
	require.EqualError(t, err, "VFIO_IOMMU_MAP_DMA: 4096 bytes in pages of 4096: the IOMMU's pages have at least 65536")
}

//go:build vmtest

package vmtest

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestVfioPools captures without a copy over the kernel's VFIO: the frames stay in a pool of
// 64 MiB in 2 MiB pages.
func TestVfioPools(t *testing.T) {
	t.Parallel()
	t.Run("group", func(t *testing.T) { poolCases(t, "6.1", "vfio-group") })
	t.Run("iommufd", func(t *testing.T) { poolCases(t, "iommufd", "vfio-iommufd") })
}

// Ports of a VM of these tests.
const (
	poolFile  = iota // a pcap file, once
	poolCount        // generated frames
)

// pool are the flags of hpcapdd for such a pool.
const pool = "--zero-copy --chunks 124 --pages 2MiB"

func poolCases(t *testing.T, kernel, form string) {
	t.Parallel()
	file := captures(t)[0]
	v := boot(t, machine{Kernel: kernel, Memlock: "unlimited", AddressBits: 39, NICs: []nic{
		poolFile: {Wire: "pcap=" + file + once}, poolCount: {Wire: "gen,size=60-1514,rate=5kpps,backpressure"},
	}})
	r := rig{vm: v, kernel: kernel, form: form}
	build(t, v, "hpcapdd")
	v.run(t, "modprobe ixgbe")
	for port := range poolCount + 1 {
		r.bind(t, port)
	}
	step(t, "a file byte for byte", func(t *testing.T) {
		if form == "vfio-group" { // half a mapping for each of the pool's pages, others included
			v.run(t, "echo 16 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit")
		}
		byteForByte(t, r, poolFile, file, pool)
	})
	step(t, "the pool's pages", func(t *testing.T) {
		c := r.capture(t, r.name(t, poolCount), pool)
		c.waitFor(t, "124 chunks of 256 packet buffers, 63.9 MiB", time.Minute)
		c.waitFor(t, "Mpps", time.Minute)
		smaps := r.run(t, `grep -A 4 rx0-pool /proc/$(pidof hpcapdd)/smaps`)
		require.Contains(t, smaps, "KernelPageSize:     2048 kB")
		require.Contains(t, smaps, "Size:              65536 kB")
		require.Equal(t, strings.Count(smaps, "rx0-pool"), strings.Count(smaps, "KernelPageSize:     2048 kB"), smaps)
		require.Contains(t, c.end(t), "not copied: a pool of 124 chunks")
	})
	step(t, "killed while receiving, and started again", func(t *testing.T) {
		for range 2 {
			before := r.nic(poolCount).stats(t).Delivered
			p := r.startAs(t, "probe", "exec /share/hpcapdd "+pool+" -i "+r.name(t, poolCount)+null)
			r.until(t, poolCount, "receiving", time.Minute, func(s counters) bool { return s.Delivered > before+1000 })
			p.signal("KILL")
			_, err := p.end(30 * time.Second)
			require.ErrorContains(t, err, "SIGKILL")
		}
		before := r.nic(poolCount).stats(t).Delivered
		c := r.capture(t, r.name(t, poolCount), pool)
		r.until(t, poolCount, "receiving again", time.Minute, func(s counters) bool { return s.Delivered > before+1000 })
		c.end(t)
		require.GreaterOrEqual(t, len(readRaw(t, c.dir)), 1000)
	})
	for port := range poolCount + 1 {
		s := r.nic(port).stats(t)
		require.NoError(t, s.Balanced())
		require.Zero(t, s.Faults, s.LastFault)
	}
}

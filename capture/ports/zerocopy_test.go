package ports_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/sim"
)

// openZeroCopy opens a port with ring-buffer pools and returns that of queue 0, nil if it copies,
// and the notices.
func openZeroCopy(t *testing.T, name string, c nic.Config) (pool *capture.PoolAccount, notices []string) {
	t.Helper()
	cfg := ports.Config{Config: c, ZeroCopy: true, OnNotice: func(text string) { notices = append(notices, text) }}
	e, _, err := ports.NewEngine(name, cfg, capture.Config{Buffer: 8 << 20})
	require.NoError(t, err)
	pool = e.Pool(0)
	require.NoError(t, e.Close())
	return pool, notices
}

func TestPortsHaveThePoolsAskedFor(t *testing.T) {
	pool, notices := openZeroCopy(t, "sim:gen,count=1", nic.Config{})
	require.Empty(t, notices)
	require.Equal(t, 31, pool.Chunks, "(8 MiB of the stream and 4096 buffers of the ring) / (2112 bytes * 256)")
	require.Equal(t, 256, pool.ChunkSize)
	require.EqualValues(t, 31*256*2112, pool.Bytes)
	require.InDelta(t, 31*256*67.2e-9, pool.Depth.Seconds(), 1e-6, "67.2 ns for each of the shortest frames")

	pool, notices = openZeroCopy(t, "sim:gen,count=1", nic.Config{Chunks: 6, ChunkSize: 512})
	require.Empty(t, notices)
	require.Equal(t, "6 chunks of 512 packet buffers, 6.2 MiB: 206µs of the shortest frames at line rate", pool.String())

	_, _, err := ports.NewEngine("sim:gen,count=1", ports.Config{Config: nic.Config{ChunkSize: 12}, ZeroCopy: true}, capture.Config{})
	require.ErrorContains(t, err, "open device sim:gen,count=1: chunks of 12 buffers: want a multiple of 8")

	e, _, err := ports.NewEngine("sim:gen,count=1", ports.Config{Config: nic.Config{Chunks: 6}}, capture.Config{Buffer: 8 << 20})
	require.NoError(t, err)
	require.Nil(t, e.Pool(0), "without ZeroCopy it copies")
	require.NoError(t, e.Close())
}

func TestPortsWithoutPoolsCopyAndSayWhy(t *testing.T) {
	dev, err := sim.Open("gen,count=1,vfs=1")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	port, err := driver.Open(dev, driver.Config{VFs: []driver.VF{{}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, port.Close()) })
	pci.Register("ports-test-vf", func(name string) (pci.Device, error) { return dev.NIC().ConnectVF(0, name) })
	pool, notices := openZeroCopy(t, "ports-test-vf:0", nic.Config{})
	require.Nil(t, pool)
	require.Contains(t, notices[0], "ports-test-vf:0 copies its frames, without zero copy: ")
	require.Contains(t, notices[0], "a virtual function has no ring-buffer pools")

	pair(t)
	for _, name := range []string{"packet:ixb", "xdp:ixb", "ixb"} {
		pool, notices := openZeroCopy(t, name, nic.Config{})
		require.Nil(t, pool)
		require.Len(t, notices, 1, name)
		require.Contains(t, notices[0], "ixb copies its frames, without zero copy: the kernel owns its buffers.")
	}
}

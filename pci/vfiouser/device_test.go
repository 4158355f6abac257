package vfiouser_test

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

// pair serves a test device over a socketpair and opens it.
func pair(t testing.TB, bells int, options ...vfiouser.Option) (*servertest.Device, *vfiouser.Device, *server.Server) {
	t.Helper()
	fake, err := servertest.New(bells)
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	s := server.New(fake)
	t.Cleanup(func() { s.Close() })
	near, far := servertest.Pair(t)
	go s.ServeConn(far)
	d, err := vfiouser.New(near, "test", options...)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return fake, d, s
}

func bar0(t testing.TB, d pci.Device) pci.Region {
	t.Helper()
	r, err := d.BAR(0)
	require.NoError(t, err)
	return r
}

func memory(t testing.TB, bytes int) *hugepage.Memory {
	t.Helper()
	m, err := hugepage.Alloc(bytes, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "vfiouser-test"})
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

func eventfd(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// count returns and resets an eventfd's counter, 0 if it stays 0 for the given time.
func count(fd int, wait time.Duration) uint64 {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, _ := unix.Poll(p, int(wait.Milliseconds())); n != 1 {
		return 0
	}
	var b [8]byte
	if n, _ := unix.Read(fd, b[:]); n != 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}

const soon = 2 * time.Second

func TestPropertiesOfADevice(t *testing.T) {
	servertest.NoLeak(t)
	_, d, _ := pair(t, 0)
	require.Equal(t, "test", d.Name())
	require.Equal(t, "vfio-user", d.Transport())
	require.Equal(t, -1, d.NUMANode())
	require.Equal(t, pci.ID{Vendor: servertest.Vendor, Device: servertest.Product, SubVendor: 0x1111, SubDevice: 0x2222, Class: 0x020000, Revision: 1}, d.ID())
	require.Equal(t, int64(256), d.Config().Size())
	require.Equal(t, int64(servertest.BARSize), bar0(t, d).Size())
	require.Same(t, bar0(t, d), bar0(t, d))
	for _, n := range []int{-1, 1, 5, 6} {
		_, err := d.BAR(n)
		require.Error(t, err, n)
	}
	for kind, want := range map[pci.IRQKind]int{pci.INTx: 1, pci.MSI: 4, pci.MSIX: 64, pci.ErrorIRQ: 1, pci.Request: 1, 9: 0, -1: 0} {
		n, err := d.Vectors(kind)
		require.NoError(t, err)
		require.Equal(t, want, n, kind)
	}
}

func TestRegionAccessesReachTheDevice(t *testing.T) {
	servertest.NoLeak(t)
	fake, d, _ := pair(t, 0)
	r := bar0(t, d)
	r.Store32(0x10, 0x12345678)
	require.Equal(t, uint32(0x12345678), r.Load32(0x10))
	for _, c := range []struct {
		off int64
		n   int
	}{{0x20, 1}, {0x22, 2}, {0x24, 4}, {0x28, 8}, {0x31, 1}, {0x41, 7}, {0x53, 30}, {0x82, 8}, {servertest.BARSize - 3, 3}, {0x20, 0}} {
		want := make([]byte, c.n)
		for i := range want {
			want[i] = byte(c.off) + byte(i) + 1
		}
		n, err := r.WriteAt(want, c.off)
		require.NoError(t, err)
		require.Equal(t, c.n, n)
		require.Equal(t, want, fake.Registers()[c.off:][:c.n])
		got := make([]byte, c.n)
		n, err = r.ReadAt(got, c.off)
		require.NoError(t, err)
		require.Equal(t, c.n, n)
		require.Equal(t, want, got)
	}
}

func TestAccessesBeyondARegionFail(t *testing.T) {
	_, d, _ := pair(t, 0)
	r := bar0(t, d)
	b := make([]byte, 8)
	n, err := r.ReadAt(b, servertest.BARSize-4)
	require.Equal(t, 4, n)
	require.Equal(t, io.EOF, err)
	require.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, b[4:])
	n, err = r.ReadAt(b, servertest.BARSize+1)
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
	_, err = r.ReadAt(b, -1)
	require.Error(t, err)
	n, err = r.WriteAt(b, servertest.BARSize-4)
	require.Equal(t, 4, n)
	require.ErrorIs(t, err, io.ErrShortWrite)
	for _, off := range []uint32{1, 2, servertest.BARSize, servertest.BARSize - 2, 0xfffffffc} {
		require.Panics(t, func() { r.Load32(off) }, off)
		require.Panics(t, func() { r.Store32(off, 0) }, off)
	}
	require.NoError(t, d.Err())
}

func TestAnErrorReplyDoesNotLoseTheDevice(t *testing.T) {
	_, d, _ := pair(t, 0)
	r := bar0(t, d)
	_, err := r.ReadAt(make([]byte, 4), servertest.Refused)
	require.ErrorIs(t, err, unix.EPERM)
	require.ErrorContains(t, err, "REGION_READ (region 0x0, offset 0x300, 4 bytes)")
	_, err = r.WriteAt(make([]byte, 4), servertest.Refused)
	require.ErrorIs(t, err, unix.EPERM)
	require.Equal(t, ^uint32(0), r.Load32(servertest.Refused))
	r.Store32(servertest.Refused, 1)
	ro, err := d.BAR(2)
	require.NoError(t, err)
	_, err = ro.WriteAt([]byte{1}, 0)
	require.ErrorIs(t, err, unix.EACCES)
	require.NoError(t, d.Err())
	r.Store32(0, 7)
	require.Equal(t, uint32(7), r.Load32(0))
}

func TestOnlyDoorbellsBypassMessages(t *testing.T) {
	servertest.NoLeak(t)
	fake, d, _ := pair(t, 8)
	r := bar0(t, d)
	r.Store32(0x40, 1)
	require.Equal(t, uint32(1), r.Load32(servertest.Counter), "one trapped write")
	require.Zero(t, r.Load32(servertest.Counter), "cleared by reading")
	for i := range 8 {
		r.Store32(servertest.Doorbell+uint32(i)*servertest.DoorbellStride, 100+uint32(i))
		select {
		case ring := <-fake.Rings():
			require.Equal(t, servertest.Ring{Bell: i, Value: 100 + uint32(i)}, ring)
		case <-time.After(soon):
			t.Fatal("the device did not see the doorbell")
		}
	}
	require.Zero(t, r.Load32(servertest.Counter), "no doorbell was a message")
	require.Zero(t, testing.AllocsPerRun(100, func() { r.Store32(servertest.Doorbell, 1) }))
	require.NoError(t, d.Close())
	r.Store32(servertest.Doorbell, 5) // discarded
}

// transfer runs the test device's DMA engine.
func transfer(t testing.TB, r pci.Region, command uint32, src, dst uint64, n int) uint32 {
	t.Helper()
	var b [8]byte
	for reg, v := range map[int64]uint64{servertest.Source: src, servertest.Target: dst} {
		binary.LittleEndian.PutUint64(b[:], v)
		_, err := r.WriteAt(b[:], reg)
		require.NoError(t, err)
	}
	r.Store32(servertest.Length, uint32(n))
	r.Store32(servertest.Command, command)
	end := time.Now().Add(soon)
	for time.Now().Before(end) {
		if s := r.Load32(servertest.Status); s != 0 {
			return s
		}
	}
	t.Fatal("the DMA engine did not finish")
	return 0
}

func fill(b []byte) {
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
}

func TestDMAMovesBytesBothWays(t *testing.T) {
	for name, c := range map[string]struct {
		command uint32
		options []vfiouser.Option
	}{
		"shared memory":              {servertest.Copy, nil},
		"copies of shared memory":    {servertest.CopyByMessage, nil},
		"messages to private memory": {servertest.CopyByMessage, []vfiouser.Option{vfiouser.PrivateDMA()}},
	} {
		t.Run(name, func(t *testing.T) {
			servertest.NoLeak(t)
			_, d, _ := pair(t, 0, c.options...)
			r := bar0(t, d)
			a, b := memory(t, 1<<20), memory(t, 1<<20)
			src, err := d.DMA().Map(a, dma.DeviceReads)
			require.NoError(t, err)
			dst, err := d.DMA().Map(b, dma.DeviceWrites)
			require.NoError(t, err)
			require.Zero(t, uint64(src)%uint64(a.PageSize()))
			fill(a.Bytes())

			require.EqualValues(t, servertest.Done, transfer(t, r, c.command, uint64(src)+3, uint64(dst)+5, 100_001))
			require.Equal(t, a.Bytes()[3:][:100_001], b.Bytes()[5:][:100_001])
			require.Zero(t, b.Bytes()[4])
			require.Zero(t, b.Bytes()[5+100_001])

			require.EqualValues(t, servertest.Failed, transfer(t, r, c.command, uint64(dst), uint64(src), 64), "rights")
			require.EqualValues(t, servertest.Failed, transfer(t, r, c.command, uint64(src)+1<<20-10, uint64(dst), 1<<20), "end of the mapping")
			require.EqualValues(t, servertest.Failed, transfer(t, r, c.command, 0, uint64(dst), 64), "never mapped")
			require.NoError(t, d.DMA().Unmap(src))
			require.EqualValues(t, servertest.Failed, transfer(t, r, c.command, uint64(src), uint64(dst), 64), "unmapped")
			require.Error(t, d.DMA().Unmap(src), "twice")
			require.Error(t, d.DMA().Unmap(dst+4096), "within a mapping")
			require.NoError(t, d.Err())
			require.NoError(t, d.Close())
		})
	}
}

func TestServerCannotTruncateMappedMemory(t *testing.T) {
	_, d, _ := pair(t, 0)
	m := memory(t, 8192)
	_, err := d.DMA().Map(m, dma.DeviceReadsWrites)
	require.NoError(t, err)
	require.ErrorIs(t, unix.Ftruncate(m.Fd(), 4096), unix.EPERM)
}

func TestInterruptsReachTheirEventfds(t *testing.T) {
	servertest.NoLeak(t)
	_, d, _ := pair(t, 0)
	r := bar0(t, d)
	const none = 30 * time.Millisecond
	raise := func() { r.Store32(servertest.Command, servertest.RaiseOnly) } // MSI-X 0, 1, INTx
	fds := make([]int, 64)
	for i := range fds {
		fds[i] = -1
	}
	fds[0], fds[1], fds[63] = eventfd(t), eventfd(t), eventfd(t)
	require.NoError(t, d.SetVectors(pci.MSIX, 0, fds))
	raise()
	require.EqualValues(t, 1, count(fds[1], soon))
	require.EqualValues(t, 1, count(fds[0], soon))
	require.Zero(t, count(fds[63], 0))

	require.NoError(t, d.MaskVector(pci.MSIX, 1, true))
	for range 2 {
		raise()
		require.EqualValues(t, 1, count(fds[0], soon))
	}
	require.Zero(t, count(fds[1], none), "masked")
	require.NoError(t, d.MaskVector(pci.MSIX, 1, false))
	require.EqualValues(t, 1, count(fds[1], soon), "pending while masked")

	require.NoError(t, d.SetVectors(pci.MSIX, 1, []int{-1}))
	count(fds[0], 0)
	raise()
	require.EqualValues(t, 1, count(fds[0], soon))
	require.Zero(t, count(fds[1], none), "disconnected")
	require.NoError(t, d.SetVectors(pci.MSIX, 0, nil))
	raise()
	require.Zero(t, count(fds[0], none), "all disconnected")

	all := make([]int, 64) // more than fit in one message
	for i := range all {
		all[i] = eventfd(t)
	}
	require.NoError(t, d.SetVectors(pci.MSIX, 0, all))
	raise()
	require.EqualValues(t, 1, count(all[0], soon))

	require.Error(t, d.SetVectors(pci.MSIX, 60, all[:5]), "beyond the last vector")
	require.Error(t, d.SetVectors(pci.MSIX, -1, all[:1]))
	require.Error(t, d.MaskVector(pci.MSIX, 64, true))
	require.Error(t, d.SetVectors(7, 0, all[:1]))
	require.NoError(t, d.Err())
}

func TestINTxMasksItselfUntilUnmasked(t *testing.T) {
	fake, d, _ := pair(t, 0)
	r := bar0(t, d)
	fd := eventfd(t)
	require.NoError(t, d.SetVectors(pci.INTx, 0, []int{fd}))
	r.Store32(servertest.Command, servertest.RaiseOnly)
	require.EqualValues(t, 1, count(fd, soon))
	r.Store32(servertest.Command, servertest.RaiseOnly)
	require.Zero(t, count(fd, 30*time.Millisecond))
	before := fake.Resamples.Load()
	require.NoError(t, d.MaskVector(pci.INTx, 0, false))
	require.EqualValues(t, 1, count(fd, soon))
	require.Equal(t, before+1, fake.Resamples.Load(), "unmasking checks the level of the line")
}

func TestResetReachesTheDevice(t *testing.T) {
	fake, d, _ := pair(t, 0)
	r := bar0(t, d)
	r.Store32(0x10, 5)
	require.NoError(t, d.Reset())
	require.EqualValues(t, 1, fake.Resets.Load())
	require.Zero(t, r.Load32(0x10))
}

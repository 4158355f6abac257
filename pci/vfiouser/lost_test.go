package vfiouser_test

import (
	"errors"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

// requireLost checks the behaviour of a lost pci.Device.
func requireLost(t *testing.T, d *vfiouser.Device, r pci.Region) {
	t.Helper()
	select {
	case <-d.Done():
	case <-time.After(soon):
		t.Fatal("Done is not closed")
	}
	require.Error(t, d.Err())
	require.Equal(t, ^uint32(0), r.Load32(0x10))
	r.Store32(0x10, 1)
	r.Store32(servertest.Doorbell, 1)
	b := make([]byte, 16)
	_, err := r.ReadAt(b, 0)
	require.Error(t, err)
	require.Equal(t, byte(0xff), b[15])
	_, err = r.WriteAt(b, 0)
	require.Error(t, err)
	require.Error(t, d.Reset())
	_, err = d.Vectors(pci.MSIX)
	require.Error(t, err)
	require.Error(t, d.SetVectors(pci.MSIX, 0, nil))
	require.Error(t, d.MaskVector(pci.MSIX, 0, true))
	_, err = d.DMA().Map(memory(t, 4096), dma.DeviceReads)
	require.Error(t, err)
}

func TestALostConnectionLosesTheDevice(t *testing.T) {
	servertest.NoLeak(t)
	fake, d, s := pair(t, 2)
	r := bar0(t, d)
	m := memory(t, 4096)
	iova, err := d.DMA().Map(m, dma.DeviceReadsWrites)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Zero(t, fake.Attached.Load())
	requireLost(t, d, r)
	require.ErrorContains(t, d.Err(), "server closed the connection")
	require.NoError(t, d.DMA().Unmap(iova), "the mapping is removed")
	require.NoError(t, d.Close())
	require.NoError(t, d.Close(), "twice")
}

func TestAClosedDeviceIsLost(t *testing.T) {
	servertest.NoLeak(t)
	fake, d, _ := pair(t, 2)
	r := bar0(t, d)
	_, err := d.DMA().Map(memory(t, 4096), dma.DeviceReadsWrites)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	requireLost(t, d, r)
	require.ErrorIs(t, d.Err(), vfiouser.ErrClosed)
	require.Eventually(t, func() bool { return fake.Attached.Load() == 0 }, soon, time.Millisecond)
}

func TestManyGoroutinesShareADevice(t *testing.T) {
	servertest.NoLeak(t)
	fake, d, _ := pair(t, 4, vfiouser.PrivateDMA())
	r := bar0(t, d)
	m := memory(t, 64<<10)
	iova, err := d.DMA().Map(m, dma.DeviceReadsWrites)
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 4 {
		reg := uint32(0x400 + 4*g)
		wg.Go(func() {
			for i := range uint32(100) {
				r.Store32(reg, i)
				require.Equal(t, i, r.Load32(reg))
				r.Store32(servertest.Doorbell+uint32(g)*servertest.DoorbellStride, i)
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			require.EqualValues(t, servertest.Done, transfer(t, r, servertest.CopyByMessage, uint64(iova), uint64(iova)+4096, 4096))
		}
	})
	wg.Go(func() {
		for range 20 {
			x := memory(t, 4096)
			a, err := d.DMA().Map(x, dma.DeviceReads)
			require.NoError(t, err)
			require.NoError(t, d.DMA().Unmap(a))
		}
	})
	wg.Go(func() {
		fd := eventfd(t)
		for range 20 {
			require.NoError(t, d.SetVectors(pci.MSIX, 0, []int{fd, fd}))
			require.NoError(t, d.SetVectors(pci.MSIX, 0, nil))
		}
	})
	wg.Wait()
	require.NoError(t, d.Err())
	require.Empty(t, fake.Errors)
}

func TestCloseDuringAccesses(t *testing.T) {
	servertest.NoLeak(t)
	_, d, _ := pair(t, 1)
	r := bar0(t, d)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for d.Err() == nil {
				r.Load32(0x10)
				r.Store32(0x14, 1)
				r.Store32(servertest.Doorbell, 1)
			}
			r.Store32(servertest.Doorbell, 1)
		})
	}
	time.Sleep(10 * time.Millisecond)
	require.NoError(t, d.Close())
	wg.Wait()
}

func TestDialOneClientAfterAnother(t *testing.T) {
	servertest.NoLeak(t)
	fake, err := servertest.New(1)
	require.NoError(t, err)
	defer fake.Close()
	path := filepath.Join(t.TempDir(), "nic.sock")
	l := listen(t, path)
	s := server.New(fake)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()

	first, err := pci.Open("vfio-user:" + path)
	require.NoError(t, err)
	require.Equal(t, "vfio-user:"+path, first.Name())
	bar0(t, first).Store32(0x10, 77)

	_, err = vfiouser.Dial(path, vfiouser.Timeout(50*time.Millisecond))
	require.ErrorContains(t, err, "the server has one client at a time, now this process")
	require.ErrorIs(t, err, syscall.EBUSY)

	next := make(chan error, 1)
	go func() {
		d, err := vfiouser.Dial(path)
		if err == nil {
			if v := bar0(t, d).Load32(0x10); v != 77 {
				err = errors.New("the device did not keep its state")
			}
			err = errors.Join(err, d.Close())
		}
		next <- err
	}()
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, first.Close())
	require.NoError(t, <-next)
	require.NoError(t, s.Close())
	require.NoError(t, <-served)
}

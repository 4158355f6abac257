package vfio

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/pci"
)

// During an unplug, the kernel waits until the device is released. That must not depend
// on the program.
func TestTheDeviceIsReleasedOnRequest(t *testing.T) {
	for kind, want := range map[pci.IRQKind]error{pci.Request: ErrRequested, pci.ErrorIRQ: ErrUncorrectable} {
		forms(t, func(t *testing.T, r *rig, form form) {
			d := r.dial(form)
			fds, got := eventfds(t, 2)
			require.NoError(t, d.SetVectors(kind, 0, fds[:1]))
			require.NoError(t, d.SetVectors(pci.MSIX, 0, fds[1:]))
			mem := alloc(t, 4096)
			at, err := d.DMA().Map(mem, dma.DeviceWrites)
			require.NoError(t, err)
			bar, _ := d.BAR(0)
			bar.Store32(8, 5)
			r.k.fire(kind, 0)
			select {
			case <-d.Done():
			case <-time.After(testtime.Deadline):
				t.Fatal("not done")
			}
			require.Equal(t, want, d.Err())
			require.Equal(t, uint32(allOnes), bar.Load32(8))
			bar.Store32(8, 6)
			select {
			case <-d.released:
			case <-time.After(testtime.Deadline):
				t.Fatal("not released")
			}
			r.k.mu.Lock()
			require.Empty(t, r.k.files)
			r.k.mu.Unlock()
			require.False(t, r.k.card.master())
			require.Equal(t, []bool{true, false}, got(), "the eventfd of SetVectors is signalled")
			require.ErrorIs(t, d.SetVectors(pci.MSIX, 0, fds), want)
			require.ErrorIs(t, d.Reset(), errFileClosed)
			require.NoError(t, d.DMA().Unmap(at), "clean-up of the driver is no error")
			require.NoError(t, d.Close())
			require.Equal(t, want, d.Err())
		})
	}
}

func TestEventfdsOfWatchedInterruptsCanBeReplaced(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	fds, got := eventfds(t, 2)
	require.NoError(t, d.SetVectors(pci.Request, 0, fds[:1]))
	require.NoError(t, d.SetVectors(pci.Request, 0, fds[1:]))
	require.NoError(t, d.SetVectors(pci.ErrorIRQ, 0, fds[:1]))
	require.NoError(t, d.SetVectors(pci.ErrorIRQ, 0, nil))
	r.k.fire(pci.Request, 0)
	<-d.released
	require.Equal(t, []bool{false, true}, got())
}

// A card that was unplugged returns errors; its release is no error.
func TestALostDeviceIsReleased(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	r.k.card.mu.Lock()
	r.k.card.lost = true
	r.k.card.mu.Unlock()
	require.Equal(t, uint32(allOnes), d.Config().Load32(0))
	_, err := d.Config().ReadAt(make([]byte, 4), 0)
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorContains(t, err, "pread (region 7, offset 0x0, 4 bytes)")
	r.k.card.config[commandAt] = 0
	r.k.fire(pci.Request, 0)
	<-d.released
	require.NoError(t, d.Close())
}

func TestCallsTimeOut(t *testing.T) {
	for call, use := range map[string]func(d *Device) error{
		"VFIO_DEVICE_RESET":    func(d *Device) error { return d.Reset() },
		"VFIO_DEVICE_SET_IRQS": func(d *Device) error { return d.SetVectors(pci.MSIX, 0, []int{0}) },
		"pread": func(d *Device) error {
			_, err := d.Config().ReadAt(make([]byte, 4), 0)
			return err
		},
		"VFIO_IOMMU_MAP_DMA": func(d *Device) error {
			_, err := d.DMA().Map(alloc(d.h.k.(*fakeKernel).t, 4096), dma.DeviceWrites)
			return err
		},
	} {
		t.Run(call, func(t *testing.T) {
			r := newRig(t)
			d := r.dial(formGroup)
			const limit = 50 * time.Millisecond
			r.limits = limits{quick: limit, reset: limit, mapping: limit}
			free := make(chan struct{})
			r.k.mu.Lock()
			r.k.blocked = map[string]chan struct{}{call: free}
			r.k.mu.Unlock()
			err := use(d)
			var timeout *TimeoutError
			require.ErrorAs(t, err, &timeout)
			require.ErrorIs(t, err, syscall.ETIMEDOUT)
			require.Contains(t, timeout.Call, call)
			require.ErrorAs(t, d.Err(), &timeout, "the device is lost")
			closed := make(chan error)
			go func() { closed <- d.Close() }()
			select {
			case <-closed:
			case <-time.After(testtime.Deadline):
				t.Fatal("Close hangs")
			}
			close(free) // the call returns, then the files are closed
			require.Eventually(t, func() bool {
				r.k.mu.Lock()
				defer r.k.mu.Unlock()
				return len(r.k.files) == 0
			}, testtime.Deadline, time.Millisecond)
		})
	}
}

// If unmapping times out, Close waits for one mapping only.
func TestCloseNamesTheUnmapThatTimedOut(t *testing.T) {
	forms(t, func(t *testing.T, r *rig, form form) {
		call := map[bool]string{true: "VFIO_IOMMU_UNMAP_DMA", false: "IOMMU_IOAS_UNMAP"}[form == formGroup]
		d := r.dial(form)
		var at []dma.IOVA
		for range 20 {
			a, err := d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
			require.NoError(t, err)
			at = append(at, a)
		}
		const limit = 100 * time.Millisecond
		r.limits = limits{quick: limit, reset: limit, mapping: limit}
		free := make(chan struct{})
		r.k.mu.Lock()
		r.k.blocked = map[string]chan struct{}{call: free}
		r.k.mu.Unlock()
		require.ErrorContains(t, d.Close(), call+": no return from the kernel within 100ms")
		require.NoError(t, d.DMA().Unmap(at[0]), "unmapped with the device")
		close(free)
		require.Eventually(t, func() bool {
			r.k.mu.Lock()
			defer r.k.mu.Unlock()
			return len(r.k.files) == 0
		}, testtime.Deadline, time.Millisecond)
	})
}

// Unmap waits for a release that is blocked: another function is being opened.
func TestUnmapOfALostDeviceTimesOut(t *testing.T) {
	r := newRig(t)
	r.limits.reset, r.limits.mapping = 200*time.Millisecond, 200*time.Millisecond
	d := r.dial(formGroup)
	at, err := d.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
	require.NoError(t, err)
	r.host.mu.Lock()
	r.k.fire(pci.Request, 0)
	<-d.Done()
	require.Eventually(t, func() bool {
		d.dma.mu.Lock()
		defer d.dma.mu.Unlock()
		return d.dma.gone
	}, testtime.Deadline, time.Millisecond)
	unmapped := make(chan error, 1)
	go func() { unmapped <- d.DMA().Unmap(at) }()
	select {
	case err := <-unmapped:
		require.EqualError(t, err, "release eth2: no return from the kernel within 1.4s")
	case <-time.After(testtime.Deadline):
		r.host.mu.Unlock()
		t.Fatal("Unmap hangs")
	}
	r.host.mu.Unlock()
	<-d.released
}

// The first watched interrupt may arrive before the second is connected.
func TestInterruptsAreNotWatchedAfterRelease(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	require.NoError(t, d.irq.close())
	require.ErrorIs(t, d.watch(), errFileClosed)
	require.Empty(t, d.irq.watched)
}

// A node that opens after the timeout is closed.
func TestOpenTimesOut(t *testing.T) {
	r := newRig(t)
	r.limits.quick = 50 * time.Millisecond
	free := make(chan struct{})
	r.k.blocked = map[string]chan struct{}{"open vfio/12": free}
	_, err := r.host.open("eth2", formGroup, r.lookup("0000:03:00.0"))
	require.ErrorContains(t, err, "vfio/12: no return from the kernel within 50ms")
	close(free)
	require.Eventually(t, func() bool {
		r.k.mu.Lock()
		defer r.k.mu.Unlock()
		closes := 0 // the container's, and the late one
		for _, call := range r.k.calls {
			if call == "close" {
				closes++
			}
		}
		return len(r.k.files) == 0 && closes == 2
	}, testtime.Deadline, time.Millisecond)
}

package vfio

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
)

// eventfds returns n eventfds, and a function that reports and resets which of them were
// signalled.
func eventfds(t *testing.T, n int) (fds []int, got func() []bool) {
	for range n {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		require.NoError(t, err)
		t.Cleanup(func() { _ = unix.Close(fd) })
		fds = append(fds, fd)
	}
	return fds, func() (got []bool) {
		for _, fd := range fds {
			got = append(got, pending(fd))
		}
		return got
	}
}

func TestVectorsAreConnected(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	fds, got := eventfds(t, 3)
	require.NoError(t, d.SetVectors(pci.MSIX, 1, []int{-1}), "nothing is connected")
	require.NoError(t, d.SetVectors(pci.MSIX, 0, []int{fds[0], fds[1], -1}))
	r.k.fire(pci.MSIX, 1)
	r.k.fire(pci.MSIX, 2)
	require.Equal(t, []bool{false, true, false}, got())
	require.NoError(t, d.SetVectors(pci.MSIX, 1, []int{-1, fds[2]}))
	r.k.fire(pci.MSIX, 0)
	r.k.fire(pci.MSIX, 1)
	r.k.fire(pci.MSIX, 2)
	require.Equal(t, []bool{true, false, true}, got())

	require.ErrorContains(t, d.SetVectors(pci.INTx, 0, fds[:1]), "VFIO_DEVICE_SET_IRQS: kind 2 is connected and excludes kind 0. Disconnect it first")
	require.ErrorContains(t, d.SetVectors(pci.MSIX, 63, fds), "vectors 63 to 65 of interrupt kind 2: the device has 64")
	require.ErrorContains(t, d.SetVectors(pci.MSIX, -1, fds), "the device has 64")
	require.NoError(t, d.SetVectors(pci.MSIX, 0, nil))
	require.NoError(t, d.SetVectors(pci.MSIX, 0, nil), "again")
	require.Equal(t, -1, r.k.card.kind)
	require.NoError(t, d.SetVectors(pci.INTx, 0, fds[:1]))
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.SetVectors(pci.MSIX, 0, fds), ErrClosed)
}

func TestVectorsThatCannotBeAddedAreSetUpAgain(t *testing.T) {
	for _, dynamic := range []bool{false, true} {
		r := newRig(t)
		r.k.card.dynamic = dynamic
		d := r.dial(formIOMMUFD)
		fds, got := eventfds(t, 4)
		require.NoError(t, d.SetVectors(pci.MSIX, 0, fds[:2]))
		require.NoError(t, d.MaskVector(pci.MSIX, 1, true))
		require.NoError(t, d.SetVectors(pci.MSIX, 2, fds[2:]))
		require.Equal(t, []bool{!dynamic, false, false, false}, got(), "an interrupt may have been lost")
		for v := range fds {
			r.k.fire(pci.MSIX, v)
		}
		require.Equal(t, []bool{true, false, true, true}, got(), "1 is still masked")
		require.NoError(t, d.MaskVector(pci.MSIX, 1, false))
		require.Equal(t, []bool{false, true, false, false}, got())
	}
}

func TestMaskedVectorsLoseNoInterrupt(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	fds, got := eventfds(t, 2)
	require.ErrorContains(t, d.MaskVector(pci.MSIX, 0, true), "vector 0 of interrupt kind 2 is not connected")
	require.NoError(t, d.SetVectors(pci.MSIX, 0, fds))
	require.NoError(t, d.MaskVector(pci.MSIX, 1, true))
	require.NoError(t, d.MaskVector(pci.MSIX, 1, true), "again")
	r.k.fire(pci.MSIX, 0)
	r.k.fire(pci.MSIX, 1)
	require.Equal(t, []bool{true, false}, got())
	require.NoError(t, d.MaskVector(pci.MSIX, 1, false))
	require.Equal(t, []bool{false, true}, got())
	require.NoError(t, d.MaskVector(pci.MSIX, 1, true))
	require.NoError(t, d.MaskVector(pci.MSIX, 1, false))
	require.Equal(t, []bool{false, false}, got(), "no interrupt is pending")
	r.k.fire(pci.MSIX, 1)
	require.Equal(t, []bool{false, true}, got())
	require.NoError(t, d.MaskVector(pci.MSIX, 0, true)) // Close handles a masked vector
}

func TestINTxIsMaskedByTheKernel(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	fds, got := eventfds(t, 1)
	require.NoError(t, d.SetVectors(pci.INTx, 0, fds))
	for range 2 {
		r.k.fire(pci.INTx, 0)
		require.Equal(t, []bool{true}, got())
		r.k.fire(pci.INTx, 0)
		require.Equal(t, []bool{false}, got(), "masked until it is unmasked")
		require.NoError(t, d.MaskVector(pci.INTx, 0, false))
	}
	require.NoError(t, d.MaskVector(pci.INTx, 0, true))
	r.k.fire(pci.INTx, 0)
	require.Equal(t, []bool{false}, got())
}

// The kernel returns the number of vectors that are left.
func TestTooFewVectors(t *testing.T) {
	r := newRig(t)
	r.k.card.vectors = 2
	d := r.dial(formGroup)
	fds, _ := eventfds(t, 3)
	require.ErrorContains(t, d.SetVectors(pci.MSIX, 0, fds), "VFIO_DEVICE_SET_IRQS: 3 vectors of interrupt kind 2: only 2 are left. Use fewer queues")
	require.NoError(t, d.SetVectors(pci.MSIX, 0, fds[:2]))
}

func TestWithoutPCIExpressThereIsNoErrorInterrupt(t *testing.T) {
	r := newRig(t)
	r.k.card.noExpress = true
	d := r.dial(formGroup)
	n, err := d.Vectors(pci.ErrorIRQ)
	require.NoError(t, err)
	require.Zero(t, n)
}

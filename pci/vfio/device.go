package vfio

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
)

// Reasons of Err.
var (
	// ErrClosed is returned by Err after Close.
	ErrClosed = errors.New("device is closed")

	// ErrRequested reports that the function was released because the kernel
	// requested it: the function is being unbound from vfio-pci, or unplugged.
	ErrRequested = errors.New("device released: the kernel requested it (VFIO request interrupt), it is being unbound or unplugged")

	// ErrUncorrectable reports that the function or its link failed.
	ErrUncorrectable = errors.New("uncorrectable PCIe error (VFIO error interrupt); see the kernel's log")
)

type iova = dma.IOVA

var _ pci.Device = (*Device)(nil)

// Device is a PCI function of this machine, opened through VFIO. All methods may
// be called from any goroutine, at the same time as Close.
type Device struct {
	h        *host
	name     string
	function pci.Function
	form     form

	space *space
	file  *file

	id       pci.ID
	canReset bool
	kinds    [irqKinds]irqInfo
	config   *region
	bars     [bars]*region // nil: absent
	msix     msixTable
	pmAt     int64 // offset of the power management control register, 0: none

	dma mapper
	irq interrupts

	power sync.Mutex // serializes writes that enable or disable the BARs

	mu   sync.Mutex // guards down
	down error
	done chan struct{}

	released   chan struct{} // closed when the function is released
	releaseErr error         // written before released is closed
}

// Name implements pci.Device.
func (d *Device) Name() string { return d.name }

// Transport implements pci.Device.
func (d *Device) Transport() string { return "vfio" }

// Form returns "vfio-group" or "vfio-iommufd".
func (d *Device) Form() string { return d.form.String() }

// Function returns the function as sysfs described it when it was opened.
func (d *Device) Function() pci.Function { return d.function }

// ID implements pci.Device.
func (d *Device) ID() pci.ID { return d.id }

// NUMANode implements pci.Device.
func (d *Device) NUMANode() int { return d.function.NUMANode }

// Config implements pci.Device.
func (d *Device) Config() pci.Region { return d.config }

// BAR implements pci.Device.
func (d *Device) BAR(n int) (pci.Region, error) {
	if n < 0 || n >= bars {
		return nil, fmt.Errorf("%s: BAR %d: want 0 to %d", d.name, n, bars-1)
	}
	if d.bars[n] == nil {
		return nil, fmt.Errorf("%s: BAR %d: the device has none", d.name, n)
	}
	return d.bars[n], nil
}

// DMA implements pci.Device.
func (d *Device) DMA() dma.Mapper { return &d.dma }

// Done implements pci.Device.
func (d *Device) Done() <-chan struct{} { return d.done }

// Err implements pci.Device.
func (d *Device) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

// Reset implements pci.Device. Accesses to mapped registers wait until the reset ends.
func (d *Device) Reset() error {
	if !d.canReset {
		return fmt.Errorf("%s: %v: the kernel has no reset method for this function (%s/bus/pci/devices/%s/reset_method)",
			d.name, deviceReset, d.h.sys, d.function.Address)
	}
	if _, err := d.file.ioctlValue(d.h.limits.reset, deviceReset, 0); err != nil {
		d.failOnTimeout(err)
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return nil
}

// failOnTimeout calls fail if err is a TimeoutError.
func (d *Device) failOnTimeout(err error) {
	var timeout *TimeoutError
	if errors.As(err, &timeout) {
		d.fail(err)
	}
}

// fail marks the device as lost and starts its release, if it is the first call. The
// kernel waits for the release without limit during an unplug, so it must not depend on
// the program.
func (d *Device) fail(reason error) {
	d.mu.Lock()
	if d.down != nil {
		d.mu.Unlock()
		return
	}
	d.down = reason
	d.mu.Unlock()
	// Before Done: a goroutine woken by Done must not load from the device.
	for _, r := range d.bars {
		if r != nil {
			r.replaceRegisters()
		}
	}
	close(d.done)
	go d.release(reason)
}

// release releases the function. Each step has a timeout.
func (d *Device) release(reason error) {
	var errs []error
	if d.config != nil {
		errs = append(errs, d.command(0, commandMaster))
	}
	errs = append(errs, d.dma.close(), d.irq.close(), d.file.close(d.h.limits.reset), d.h.detach(d.space))
	// A lost device may return errors, which are of no use to the caller.
	if errors.Is(reason, ErrClosed) {
		d.releaseErr = errors.Join(errs...)
	}
	close(d.released)
}

// Close implements pci.Device. When it returns, DMA has ended and the function is
// released.
func (d *Device) Close() error {
	d.fail(ErrClosed)
	if err := d.waitReleased(); err != nil {
		return err
	}
	return d.releaseErr
}

// waitReleased waits until release ends.
func (d *Device) waitReleased() error {
	limit := 6*d.h.limits.reset + d.h.limits.mapping // more than the timeouts of release
	select {
	case <-d.released:
		return nil
	case <-time.After(limit):
		return &TimeoutError{"release " + d.name, limit}
	}
}

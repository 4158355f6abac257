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
	// ErrClosed is Err's answer after Close.
	ErrClosed = errors.New("device is closed")

	// ErrRequested says that the kernel asked for the function (it is being
	// unbound from vfio-pci, or unplugged) and that it has been given back.
	ErrRequested = errors.New("the kernel asked for the device back (VFIO request interrupt): it is being unbound or unplugged, and was given back")

	// ErrUncorrectable says that the function, or the link to it, is broken.
	ErrUncorrectable = errors.New("the device reported an uncorrectable PCIe error (VFIO error interrupt); the kernel's log has the details")
)

type iova = dma.IOVA

var _ pci.Device = (*Device)(nil)

// Device is a PCI function of this machine, opened through VFIO. All methods may
// be called from any goroutine, Close beside any of them.
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
	pmAt     int64 // offset of the power management capability's control register; 0: none

	dma mapper
	irq interrupts

	power sync.Mutex // one write that may switch the BARs at a time

	mu   sync.Mutex // guards down
	down error
	done chan struct{}

	released   chan struct{} // closed when the kernel has the function back
	releaseErr error         // written before released is closed
}

// Name implements pci.Device.
func (d *Device) Name() string { return d.name }

// Transport implements pci.Device.
func (d *Device) Transport() string { return "vfio" }

// Form is "vfio-group" or "vfio-iommufd".
func (d *Device) Form() string { return d.form.String() }

// Function is what sysfs said about the function when it was opened.
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

// Reset implements pci.Device. Mapped registers are not answered meanwhile, by
// anybody: accesses wait.
func (d *Device) Reset() error {
	if !d.canReset {
		return fmt.Errorf("%s: %v: the kernel knows no way to reset this function alone (%s/bus/pci/devices/%s/reset_method)",
			d.name, deviceReset, d.h.sys, d.function.Address)
	}
	if _, err := d.file.ioctlValue(d.h.limits.reset, deviceReset, 0); err != nil {
		d.failOnTimeout(err)
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return nil
}

// failOnTimeout takes the device down when the kernel is stuck with it.
func (d *Device) failOnTimeout(err error) {
	var timeout *TimeoutError
	if errors.As(err, &timeout) {
		d.fail(err)
	}
}

// fail takes the device down, the first time, for the given reason, and begins
// to give it back: the kernel waits for that in the middle of an unplug, for
// ever, whatever the program above is doing.
func (d *Device) fail(reason error) {
	d.mu.Lock()
	if d.down != nil {
		d.mu.Unlock()
		return
	}
	d.down = reason
	d.mu.Unlock()
	// Before Done: who was woken by Done must not load from the device.
	for _, r := range d.bars {
		if r != nil {
			r.park()
		}
	}
	close(d.done)
	go d.release(reason)
}

// release gives the function back. Each step has a deadline.
func (d *Device) release(reason error) {
	var errs []error
	if d.config != nil {
		errs = append(errs, d.command(0, commandMaster))
	}
	errs = append(errs, d.dma.close(), d.irq.close(), d.file.close(d.h.limits.reset), d.h.leave(d.space))
	// A device that was lost may refuse what it is asked; nobody can mend that.
	if errors.Is(reason, ErrClosed) {
		d.releaseErr = errors.Join(errs...)
	}
	close(d.released)
}

// Close implements pci.Device. DMA has ended, and the kernel has the function
// back, when it returns.
func (d *Device) Close() error {
	d.fail(ErrClosed)
	if err := d.givenBack(); err != nil {
		return err
	}
	return d.releaseErr
}

// givenBack waits for release, which is under way.
func (d *Device) givenBack() error {
	limit := 6*d.h.limits.reset + d.h.limits.mapping // more than the deadlines within
	select {
	case <-d.released:
		return nil
	case <-time.After(limit):
		return &TimeoutError{"give " + d.name + " back", limit}
	}
}

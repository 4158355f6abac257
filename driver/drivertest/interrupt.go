package drivertest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/pci"
)

// interrupts is a Device's MSI-X: a cause that is raised and enabled signals its
// eventfd, then clears and masks itself, as with EIAC and EIAM_EX all ones.
type interrupts struct {
	events []int  // by vector; -1: not connected
	causes uint64 // by vector
	masks  uint64 // by vector: enabled
	others uint32 // EICR 30:16
	omasks uint32
}

// Raise raises the interrupt of a vector, as a frame on its queue does.
func (d *Device) Raise(vector int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.irq.causes |= 1 << vector
	d.deliver()
}

// RaiseOther raises causes other than queues: bits of EICR.
func (d *Device) RaiseOther(causes uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.irq.others |= causes
	d.deliver()
}

// Armed reports whether a vector is enabled.
func (d *Device) Armed(vector int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.irq.masks>>vector&1 != 0
}

// Connected returns how many vectors have an eventfd.
func (d *Device) Connected() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, fd := range d.irq.events {
		if fd >= 0 {
			n++
		}
	}
	return n
}

// interruptStore executes a store to a register of the interrupt unit.
func (d *Device) interruptStore(r reg.Register, v uint32) {
	q := &d.irq
	low := uint64(reg.EICR_VECTORS.Of(v))
	high := v &^ reg.EICR_VECTORS.Mask()
	switch r {
	case reg.EICR:
		q.causes &^= low
		q.others &^= high
	case reg.EICS:
		q.causes |= low
		q.others |= high
	case reg.EIMS:
		q.masks |= low
		q.omasks |= high
	case reg.EIMC:
		q.masks &^= low
		q.omasks &^= high
	case reg.EICS_EX(0), reg.EICS_EX(1):
		q.causes |= uint64(v) << (32 * r.Index)
	case reg.EIMS_EX(0), reg.EIMS_EX(1):
		q.masks |= uint64(v) << (32 * r.Index)
	case reg.EIMC_EX(0), reg.EIMC_EX(1):
		q.masks &^= uint64(v) << (32 * r.Index)
	default:
		return
	}
	d.deliver()
}

// deliver sends the messages of raised and enabled causes.
func (d *Device) deliver() {
	q := &d.irq
	due := q.causes & q.masks
	misc := *d.at(reg.IVAR_MISC)
	if q.others&q.omasks != 0 && reg.IVAR_MISC_OTHER_VAL.Of(misc) != 0 {
		due |= 1 << reg.IVAR_MISC_OTHER.Of(misc)
		q.omasks &^= q.others
	}
	q.causes &^= due
	q.masks &^= due
	for v, fd := range q.events {
		if due>>v&1 != 0 && fd >= 0 && !d.Dead[v] {
			_, _ = unix.Write(fd, binary.NativeEndian.AppendUint64(nil, 1))
		}
	}
}

// Vectors implements pci.Device.
func (d *Device) Vectors(kind pci.IRQKind) (int, error) {
	if kind != pci.MSIX {
		return 0, nil
	}
	return d.MSIX, d.Err()
}

// SetVectors implements pci.Device.
func (d *Device) SetVectors(kind pci.IRQKind, first int, eventfds []int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
		return d.err
	case d.VectorErr != nil && len(eventfds) > 0:
		return d.VectorErr
	case kind != pci.MSIX:
		return errors.ErrUnsupported
	case first+len(eventfds) > d.MSIX:
		return fmt.Errorf("drivertest: vectors %d to %d of %d", first, first+len(eventfds), d.MSIX)
	}
	if len(eventfds) == 0 {
		d.irq.events = nil
	}
	for i, fd := range eventfds {
		for len(d.irq.events) <= first+i {
			d.irq.events = append(d.irq.events, -1)
		}
		d.irq.events[first+i] = fd
	}
	return nil
}

// MaskVector implements pci.Device; the driver masks by EIMC.
func (d *Device) MaskVector(pci.IRQKind, int, bool) error { return errors.ErrUnsupported }

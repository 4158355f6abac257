package vfio

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
)

// interrupts is the state of a device's interrupts. Only one of INTx, MSI and MSI-X can
// be connected.
type interrupts struct {
	setup sync.Mutex // serializes changes

	// Guarded by setup.
	kind pci.IRQKind // kind in use
	fds  []int       // by vector, -1 for none; nil: no kind is in use
	size int         // vectors set up in the kernel

	mu        sync.Mutex
	closed    bool
	watched   []*os.File          // eventfds of error and request interrupts
	listeners map[pci.IRQKind]int // the caller's eventfds for those
	masked    map[int]int         // by masked vector: the eventfd that receives its interrupts
}

// findVectors reads the number of vectors of each kind.
func (d *Device) findVectors(kinds uint32) error {
	for kind := range min(kinds, irqKinds) {
		b := words(irqInfoSize, 0, kind, 0)
		if _, err := d.file.ioctl(d.h.limits.quick, deviceGetIRQ, b); err != nil {
			// Without PCI Express, the kernel returns EINVAL for error interrupts.
			if errors.Is(err, syscall.EINVAL) && kind >= uint32(pci.ErrorIRQ) {
				continue
			}
			return fmt.Errorf("%w (interrupt kind %d)", err, kind)
		}
		info := parseIRQInfo(b)
		if info.count > 2048 {
			return fmt.Errorf("%v: %d vectors of kind %d, want at most 2048", deviceGetIRQ, info.count, kind)
		}
		if info.flags&irqFlagEventFD != 0 {
			d.kinds[kind] = info
		}
	}
	return nil
}

// Vectors implements pci.Device.
func (d *Device) Vectors(kind pci.IRQKind) (int, error) {
	if err := d.Err(); err != nil {
		return 0, err
	}
	if kind < 0 || int(kind) >= irqKinds {
		return 0, nil
	}
	return int(d.kinds[kind].count), nil
}

func (d *Device) checkVectors(kind pci.IRQKind, first, n int) error {
	have, err := d.Vectors(kind)
	if err != nil {
		return err
	}
	if first < 0 || first > have || n > have-first {
		return fmt.Errorf("%s: vectors %d to %d of interrupt kind %d: the device has %d", d.name, first, first+n-1, kind, have)
	}
	return nil
}

// SetVectors implements pci.Device. Only one of INTx, MSI and MSI-X can be connected;
// disconnect all its vectors before another kind. If the kernel cannot add vectors
// (before Linux 6.5, or without dynamic MSI-X), connecting a higher vector sets up all
// vectors again; the eventfds connected before are then signalled once, because an
// interrupt may have been lost.
//
// The transport itself uses error and request interrupts to detect the loss of the
// device; eventfds for them are signalled as well.
func (d *Device) SetVectors(kind pci.IRQKind, first int, eventfds []int) error {
	if err := d.checkVectors(kind, first, len(eventfds)); err != nil {
		return err
	}
	if kind == pci.ErrorIRQ || kind == pci.Request {
		fd := -1
		if len(eventfds) > 0 {
			fd = eventfds[0]
		}
		return d.irq.setListener(kind, fd)
	}
	q := &d.irq
	q.setup.Lock()
	defer q.setup.Unlock()
	if q.fds != nil && q.kind != kind {
		return fmt.Errorf("%s: %v: kind %d is connected and excludes kind %d. Disconnect it first", d.name, deviceSetIRQs, q.kind, kind)
	}
	if len(eventfds) == 0 {
		return d.disconnect()
	}
	if q.fds == nil && !slices.ContainsFunc(eventfds, func(fd int) bool { return fd >= 0 }) {
		return nil // nothing was connected
	}
	if err := d.connect(kind, first, eventfds); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return nil
}

// connect connects a block of vectors. The caller holds setup.
func (d *Device) connect(kind pci.IRQKind, first int, eventfds []int) error {
	q := &d.irq
	want := make([]int, d.kinds[kind].count)
	for i := range want {
		want[i] = -1
	}
	copy(want, q.fds)
	copy(want[first:], eventfds)
	last := first + len(eventfds)
	fixed := d.kinds[kind].flags&irqFlagNoResize != 0
	switch {
	case q.fds == nil:
		// The first block sets the number of vectors, so it starts at 0.
		if err := d.setIRQs(kind, 0, last, irqDataEventFD|irqActionTrigger, want[:last]); err != nil {
			return err
		}
	case fixed && last > q.size:
		if err := d.regrow(first, want[:last]); err != nil {
			return err
		}
	default:
		if err := d.setIRQs(kind, first, len(eventfds), irqDataEventFD|irqActionTrigger, eventfds); err != nil {
			// After an error the kernel disconnects the whole block.
			for i := range eventfds {
				q.fds[first+i] = -1
			}
			return err
		}
	}
	q.kind, q.fds, q.size = kind, want, max(q.size, last)
	q.clearMasked(first, last)
	return nil
}

// regrow sets up a larger number of vectors in place of the present ones. The vectors
// from first are new. The caller holds setup.
func (d *Device) regrow(first int, want []int) error {
	q := &d.irq
	kind, before := q.kind, q.fds
	if err := d.setIRQs(kind, 0, 0, irqDataNone|irqActionTrigger, nil); err != nil {
		return err
	}
	q.fds, q.size = nil, 0
	block := slices.Clone(want)
	q.mu.Lock()
	for v, fd := range q.masked {
		if v < first {
			block[v] = fd // stays masked
		}
	}
	q.mu.Unlock()
	if err := d.setIRQs(kind, 0, len(block), irqDataEventFD|irqActionTrigger, block); err != nil {
		return err
	}
	for v, fd := range block {
		if before[v] >= 0 {
			signal(fd)
		}
	}
	return nil
}

// disconnect disconnects the kind in use. The caller holds setup.
func (d *Device) disconnect() error {
	q := &d.irq
	if q.fds == nil {
		return nil
	}
	err := d.setIRQs(q.kind, 0, 0, irqDataNone|irqActionTrigger, nil)
	if err == nil {
		q.fds, q.size = nil, 0
		q.clearMasked(0, int(d.kinds[q.kind].count))
	}
	return err
}

// clearMasked marks the vectors first to last-1 as not masked.
func (q *interrupts) clearMasked(first, last int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for v, fd := range q.masked {
		if first <= v && v < last {
			_ = unix.Close(fd)
			delete(q.masked, v)
		}
	}
}

// MaskVector implements pci.Device. The kernel masks INTx after every interrupt. It has
// no call to mask vectors of MSI and MSI-X: a masked vector is connected to an eventfd of
// the transport, and its pending interrupt is delivered when it is unmasked.
func (d *Device) MaskVector(kind pci.IRQKind, vector int, masked bool) error {
	if err := d.checkVectors(kind, vector, 1); err != nil {
		return err
	}
	q := &d.irq
	q.setup.Lock()
	defer q.setup.Unlock()
	if q.fds == nil || q.kind != kind || q.fds[vector] < 0 {
		return fmt.Errorf("%s: vector %d of interrupt kind %d is not connected", d.name, vector, kind)
	}
	if d.kinds[kind].flags&irqFlagMaskable != 0 {
		action := uint32(irqActionUnmask)
		if masked {
			action = irqActionMask
		}
		return d.setIRQs(kind, vector, 1, irqDataNone|action, nil)
	}
	q.mu.Lock()
	own, is := q.masked[vector]
	q.mu.Unlock()
	if is == masked {
		return nil
	}
	if masked {
		return d.redirect(kind, vector)
	}
	if err := d.setIRQs(kind, vector, 1, irqDataEventFD|irqActionTrigger, []int{q.fds[vector]}); err != nil {
		return err
	}
	if pending(own) {
		signal(q.fds[vector])
	}
	q.clearMasked(vector, vector+1)
	return nil
}

// redirect masks a vector by connecting it to an eventfd of the transport.
func (d *Device) redirect(kind pci.IRQKind, vector int) error {
	q := &d.irq
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if err := d.setIRQs(kind, vector, 1, irqDataEventFD|irqActionTrigger, []int{fd}); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errors.Join(errFileClosed, unix.Close(fd))
	}
	if q.masked == nil {
		q.masked = map[int]int{}
	}
	q.masked[vector] = fd
	return nil
}

func (d *Device) setIRQs(kind pci.IRQKind, first, n int, flags uint32, fds []int) error {
	got, err := d.file.ioctl(d.h.limits.quick, deviceSetIRQs, irqSet(flags, int(kind), first, n, fds))
	if err == nil && got > 0 { // the number of vectors that are left
		return fmt.Errorf("%v: %d vectors of interrupt kind %d: only %d are left. Use fewer queues", deviceSetIRQs, first+n, kind, got)
	}
	if err == nil {
		return nil
	}
	d.failOnTimeout(err)
	return fmt.Errorf("%w (interrupt kind %d, vectors %d to %d)", err, kind, first, first+n-1)
}

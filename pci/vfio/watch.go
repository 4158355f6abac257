package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
)

// watch connects the error and the request interrupt, which report the loss of the
// device.
func (d *Device) watch() error {
	for kind, reason := range map[pci.IRQKind]error{pci.ErrorIRQ: ErrUncorrectable, pci.Request: ErrRequested} {
		if d.kinds[kind].count == 0 {
			continue // an older kernel, or not PCI Express
		}
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return fmt.Errorf("eventfd: %w", err)
		}
		f := os.NewFile(uintptr(fd), "eventfd")
		if err := d.irq.addWatched(f); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := d.setIRQs(kind, 0, 1, irqDataEventFD|irqActionTrigger, []int{fd}); err != nil {
			return err
		}
		go func() {
			var b [8]byte
			if n, err := f.Read(b[:]); err != nil || n != len(b) || binary.NativeEndian.Uint64(b[:]) == 0 {
				return // closed by release
			}
			d.irq.forward(kind)
			d.fail(reason)
		}()
	}
	return nil
}

// addWatched adds an eventfd that close closes. It fails if the first interrupt has
// already released the device before the second is connected.
func (q *interrupts) addWatched(f *os.File) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errFileClosed
	}
	q.watched = append(q.watched, f)
	return nil
}

// forward signals the eventfd that SetVectors connected to a watched interrupt.
func (q *interrupts) forward(kind pci.IRQKind) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if fd, ok := q.listeners[kind]; ok {
		signal(fd)
	}
}

// setListener connects the caller's eventfd to a watched interrupt; -1 disconnects it.
// It keeps a duplicate, because the caller may close its descriptor.
func (q *interrupts) setListener(kind pci.IRQKind, fd int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return errFileClosed
	}
	own := -1
	if fd >= 0 {
		var err error
		if own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return fmt.Errorf("duplicate eventfd: %w", err)
		}
	}
	if old, ok := q.listeners[kind]; ok {
		_ = unix.Close(old)
		delete(q.listeners, kind)
	}
	if own >= 0 {
		if q.listeners == nil {
			q.listeners = map[pci.IRQKind]int{}
		}
		q.listeners[kind] = own
	}
	return nil
}

// close closes the eventfds. The kernel's references end with the device.
func (q *interrupts) close() (err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, f := range q.watched {
		err = errors.Join(err, f.Close()) // ends the goroutine that reads it
	}
	for _, fd := range q.listeners {
		err = errors.Join(err, unix.Close(fd))
	}
	for _, v := range q.masked {
		err = errors.Join(err, unix.Close(v))
	}
	q.watched, q.listeners, q.masked = nil, nil, nil
	return err
}

// signal adds 1 to an eventfd, unless its counter is full.
func signal(fd int) {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	_, _ = unix.Write(fd, b[:])
}

// pending reports whether an eventfd's counter is not 0, and resets it.
func pending(fd int) bool {
	var b [8]byte
	n, err := unix.Read(fd, b[:])
	return err == nil && n == len(b)
}

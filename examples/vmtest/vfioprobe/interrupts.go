package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
)

// Registers of the 82599 (datasheet 8.2.3.5).
const (
	eicr = 0x00800 // causes; reading clears them
	eics = 0x00808 // sets causes, which raises their interrupts
	eiac = 0x00810 // causes cleared by their message; a cause that is set sends no second message
	eims = 0x00880
	eimc = 0x00888
	gpie = 0x00898

	gpieMSIX = 1 << 4  // several vectors
	gpiePBA  = 1 << 31 // MSI-X pending bits

	timeout   = 5 * time.Second        // for an interrupt
	quietTime = 200 * time.Millisecond // without an interrupt
)

// lines are the eventfds of vectors.
type lines []int

func newLines(n int) (l lines, err error) {
	for range n {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return l, err
		}
		l = append(l, fd)
	}
	return l, nil
}

// fired reports whether a vector fires within limit.
func (l lines) fired(v int, limit time.Duration) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(l[v]), Events: unix.POLLIN}}, int(limit/time.Millisecond))
	for err == unix.EINTR {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(l[v]), Events: unix.POLLIN}}, int(limit/time.Millisecond))
	}
	if err != nil || n == 0 {
		return false, err
	}
	var b [8]byte
	_, err = unix.Read(l[v], b[:])
	return err == nil && binary.NativeEndian.Uint64(b[:]) > 0, err
}

// expect returns an error unless a vector fires, or does not.
func (l lines) expect(what string, v int, want bool) error {
	limit := timeout
	if !want {
		limit = quietTime
	}
	got, err := l.fired(v, limit)
	if err == nil && got != want {
		err = fmt.Errorf("fired: %v, want %v", got, want)
	}
	if err != nil {
		return fmt.Errorf("%s: vector %d: %w", what, v, err)
	}
	fmt.Printf("%s: vector %d: fired: %v\n", what, v, got)
	return nil
}

// interrupts tests the interrupts of a transport.
func interrupts(dev pci.Device) error {
	bar, err := dev.BAR(0)
	if err != nil {
		return err
	}
	l, err := newLines(6)
	if err != nil {
		return err
	}
	if err := dev.Reset(); err != nil {
		return err
	}
	fmt.Println("reset")
	bar.Store32(eimc, 0x7fffffff)
	bar.Load32(eicr)
	bar.Store32(gpie, gpieMSIX|gpiePBA)
	bar.Store32(eiac, 0x3f)
	if err := dev.SetVectors(pci.MSIX, 0, l[:3]); err != nil {
		return err
	}
	bar.Store32(eims, 0x3f)
	cause := func(v int) { bar.Store32(eics, 1<<v) }
	check := func(what string, v int, want bool) error {
		cause(v)
		return l.expect(what, v, want)
	}
	for v := range 3 {
		if err := check("connected", v, true); err != nil {
			return err
		}
	}
	if err := dev.MaskVector(pci.MSIX, 1, true); err != nil {
		return err
	}
	err = errors.Join(check("masked", 1, false), check("next to a masked one", 2, true), dev.MaskVector(pci.MSIX, 1, false),
		l.expect("unmasked, pending", 1, true), check("unmasked", 1, true))
	if err != nil {
		return err
	}
	// More vectors: the kernel may have to set up all again.
	if err := dev.SetVectors(pci.MSIX, 3, l[3:]); err != nil {
		return err
	}
	for v := range l {
		if _, err := l.fired(v, quietTime); err != nil { // from the change
			return err
		}
	}
	for v := range l {
		if err := check("six vectors", v, true); err != nil {
			return err
		}
	}
	if err := dev.SetVectors(pci.MSIX, 2, []int{-1}); err != nil {
		return err
	}
	if err := errors.Join(check("disconnected", 2, false), check("next to a disconnected one", 3, true)); err != nil {
		return err
	}
	if err := dev.Reset(); err != nil {
		return err
	}
	bar.Store32(gpie, gpieMSIX|gpiePBA)
	bar.Store32(eiac, 0x3f)
	bar.Store32(eims, 0x3f)
	if err := check("after a reset", 4, true); err != nil {
		return err
	}
	if err := dev.SetVectors(pci.MSIX, 0, nil); err != nil {
		return err
	}
	return pin(dev, bar, l)
}

// pin tests INTx, if the device has it: a level, which the kernel masks after each
// interrupt.
func pin(dev pci.Device, bar pci.Region, l lines) error {
	n, err := dev.Vectors(pci.INTx)
	if err != nil || n == 0 {
		fmt.Println("no INTx")
		return err
	}
	bar.Store32(eimc, 0x7fffffff)
	bar.Store32(gpie, 0)
	bar.Store32(eiac, 0)
	bar.Load32(eicr)
	if err := dev.SetVectors(pci.INTx, 0, l[:1]); err != nil {
		return err
	}
	bar.Store32(eims, 1)
	for range 3 {
		bar.Store32(eics, 1)
		if err := l.expect("INTx", 0, true); err != nil {
			return err
		}
		bar.Load32(eicr) // the line falls
		if err := dev.MaskVector(pci.INTx, 0, false); err != nil {
			return err
		}
		if err := l.expect("INTx, cause read", 0, false); err != nil {
			return err
		}
	}
	return dev.SetVectors(pci.INTx, 0, nil)
}

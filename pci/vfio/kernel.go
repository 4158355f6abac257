package vfio

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// kernel is the system calls this package makes, so that a test can stand in for
// a machine with an IOMMU.
type kernel interface {
	open(path string) (fd int, err error) // for reading and writing
	close(fd int) error

	// ioctl passes a structure, with the addresses of refs filled in; with arg
	// nil it passes value.
	ioctl(fd int, req request, value uintptr, arg []byte, refs ...ref) (int, error)

	pread(fd int, p []byte, off int64) (int, error)
	pwrite(fd int, p []byte, off int64) (int, error)

	// mmap maps length bytes of a device's file, in place of the mapping at when
	// that is not nil.
	mmap(fd int, off int64, length int, at []byte) ([]byte, error)
}

// ref is memory whose address goes into a structure, as 64 bits at a byte of it.
type ref struct {
	at  int
	mem []byte
}

// How long calls may take. The kernel gives a function up to a minute to come
// back from a reset, which opening and closing a device may contain. Mapping pins
// memory page by page, so it grows with the size.
type limits struct{ quick, reset, mapping, perGiB time.Duration }

var defaultLimits = limits{quick: 10 * time.Second, reset: 75 * time.Second, mapping: time.Minute, perGiB: time.Minute}

func (l limits) mapped(bytes uint64) time.Duration {
	return l.mapping + time.Duration(bytes>>20)*l.perGiB/1024
}

// TimeoutError says that the kernel did not come back from a call in time. The
// call may still be under way; the thread in it cannot be taken out of it.
type TimeoutError struct {
	Call  string // such as VFIO_DEVICE_RESET
	After time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s: the kernel has not answered for %v", e.Call, e.After)
}

// Unwrap makes it syscall.ETIMEDOUT.
func (e *TimeoutError) Unwrap() error { return syscall.ETIMEDOUT }

// within makes a call that may block in the kernel, and waits for it so long. A
// call that comes back too late is passed to late, if that is not nil.
func within[T any](limit time.Duration, name string, call func() (T, error), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		for {
			v, err := call()
			if !errors.Is(err, syscall.EINTR) { // the runtime's own signals
				done <- result{v, err}
				return
			}
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.v, r.err
	case <-timer.C:
	}
	if late != nil {
		go func() {
			if r := <-done; r.err == nil {
				late(r.v)
			}
		}()
	}
	var none T
	return none, &TimeoutError{name, limit}
}

var errFileClosed = errors.New("device is closed")

// file is an open file of the kernel's. It is closed when nobody is inside a call
// on it any more, so that no call meets another file of the same number.
type file struct {
	k    kernel
	path string

	mu      sync.Mutex
	fd      int
	users   int
	closing bool
	idle    chan struct{} // closed once closing and without users
}

func newFile(k kernel, path string, fd int) *file {
	return &file{k: k, path: path, fd: fd, idle: make(chan struct{})}
}

// openFile opens a node.
func openFile(k kernel, l limits, path string) (*file, error) {
	fd, err := within(l.quick, "open "+path, func() (int, error) { return k.open(path) },
		func(fd int) { _ = k.close(fd) })
	if err != nil {
		return nil, err
	}
	return newFile(k, path, fd), nil
}

func (f *file) enter() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return -1, errFileClosed
	}
	f.users++
	return f.fd, nil
}

func (f *file) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users == 0 && f.closing {
		close(f.idle)
	}
}

// call makes a call on the file. What it writes to must be its own: after a
// timeout it may still do so. For late see within.
func (f *file) call(limit time.Duration, name string, call func(fd int) (int, error), late func(int)) (int, error) {
	fd, err := f.enter()
	if err != nil {
		return -1, fmt.Errorf("%s: %w", name, err)
	}
	n, err := within(limit, name, func() (int, error) {
		n, err := call(fd)
		if !errors.Is(err, syscall.EINTR) {
			f.leave()
		}
		return n, err
	}, late)
	var timeout *TimeoutError
	if err != nil && !errors.As(err, &timeout) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return n, err
}

// ioctl passes a structure. Errors name the call.
func (f *file) ioctl(limit time.Duration, req request, arg []byte, refs ...ref) (int, error) {
	return f.call(limit, req.String(), func(fd int) (int, error) { return f.k.ioctl(fd, req, 0, arg, refs...) }, nil)
}

// ioctlValue passes a number.
func (f *file) ioctlValue(limit time.Duration, req request, value uintptr) (int, error) {
	return f.call(limit, req.String(), func(fd int) (int, error) { return f.k.ioctl(fd, req, value, nil) }, nil)
}

// close closes the file once it is idle. Calls that do not end keep it open, and
// it is closed behind them.
func (f *file) close(limit time.Duration) error {
	f.mu.Lock()
	if f.closing {
		f.mu.Unlock()
		return nil
	}
	f.closing = true
	if f.users == 0 {
		close(f.idle)
	}
	f.mu.Unlock()
	_, err := within(limit, "close "+f.path, func() (struct{}, error) {
		<-f.idle
		return struct{}{}, f.k.close(f.fd)
	}, nil)
	return err
}

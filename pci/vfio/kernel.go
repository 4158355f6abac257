package vfio

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// kernel is the system calls of this package. Tests replace it.
type kernel interface {
	open(path string) (fd int, err error) // for reading and writing
	close(fd int) error

	// ioctl passes a structure, with the addresses of refs filled in; with arg
	// nil it passes value.
	ioctl(fd int, req request, value uintptr, arg []byte, refs ...ref) (int, error)

	pread(fd int, p []byte, off int64) (int, error)
	pwrite(fd int, p []byte, off int64) (int, error)

	// mmap maps length bytes of a device's file. It replaces the mapping at, if at
	// is not nil.
	mmap(fd int, off int64, length int, at []byte) ([]byte, error)
}

// ref is memory whose 64-bit address is stored at offset at of a structure.
type ref struct {
	at  int
	mem []byte
}

// limits are the timeouts of system calls. The kernel allows a minute for a reset, which
// open and close of a device may include. Mapping pins memory page by page, so its
// timeout grows with the size.
type limits struct{ quick, reset, mapping, perGiB time.Duration }

var defaultLimits = limits{quick: 10 * time.Second, reset: 75 * time.Second, mapping: time.Minute, perGiB: time.Minute}

// forMapping returns the timeout of mapping or unmapping.
func (l limits) forMapping(bytes uint64) time.Duration {
	return l.mapping + time.Duration(bytes>>20)*l.perGiB/1024
}

// TimeoutError reports a system call that did not return in time. The call may still
// be running; its thread cannot be stopped.
type TimeoutError struct {
	Call  string // such as VFIO_DEVICE_RESET
	After time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s: no return from the kernel within %v", e.Call, e.After)
}

// Unwrap returns syscall.ETIMEDOUT.
func (e *TimeoutError) Unwrap() error { return syscall.ETIMEDOUT }

// withTimeout makes a call that may block in the kernel. After the limit it returns a
// TimeoutError; if the call succeeds later, its result is passed to late, if not nil.
func withTimeout[T any](limit time.Duration, name string, call func() (T, error), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		for {
			v, err := call()
			if !errors.Is(err, syscall.EINTR) { // signals of the Go runtime
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

// file is an open file. It is closed after the last call on it has returned, so that no
// call uses a reused descriptor number.
type file struct {
	k    kernel
	path string

	mu      sync.Mutex
	fd      int
	users   int // calls that run
	closing bool
	idle    chan struct{} // closed when closing is set and users is 0
}

func newFile(k kernel, path string, fd int) *file {
	return &file{k: k, path: path, fd: fd, idle: make(chan struct{})}
}

// openFile opens a node.
func openFile(k kernel, l limits, path string) (*file, error) {
	fd, err := withTimeout(l.quick, "open "+path, func() (int, error) { return k.open(path) },
		func(fd int) { _ = k.close(fd) })
	if err != nil {
		return nil, err
	}
	return newFile(k, path, fd), nil
}

func (f *file) acquire() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return -1, errFileClosed
	}
	f.users++
	return f.fd, nil
}

func (f *file) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users == 0 && f.closing {
		close(f.idle)
	}
}

// call makes a call on the file. The call must own the memory that it writes: after a
// timeout it may still write. For late see withTimeout.
func (f *file) call(limit time.Duration, name string, call func(fd int) (int, error), late func(int)) (int, error) {
	fd, err := f.acquire()
	if err != nil {
		return -1, fmt.Errorf("%s: %w", name, err)
	}
	n, err := withTimeout(limit, name, func() (int, error) {
		n, err := call(fd)
		if !errors.Is(err, syscall.EINTR) {
			f.release()
		}
		return n, err
	}, late)
	var timeout *TimeoutError
	if err != nil && !errors.As(err, &timeout) {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return n, err
}

// ioctl makes an ioctl with a structure. Errors name the call.
func (f *file) ioctl(limit time.Duration, req request, arg []byte, refs ...ref) (int, error) {
	return f.call(limit, req.String(), func(fd int) (int, error) { return f.k.ioctl(fd, req, 0, arg, refs...) }, nil)
}

// ioctlValue makes an ioctl with a number.
func (f *file) ioctlValue(limit time.Duration, req request, value uintptr) (int, error) {
	return f.call(limit, req.String(), func(fd int) (int, error) { return f.k.ioctl(fd, req, value, nil) }, nil)
}

// close closes the file when it is idle. After a timeout the file is closed when the
// last call returns.
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
	_, err := withTimeout(limit, "close "+f.path, func() (struct{}, error) {
		<-f.idle
		return struct{}{}, f.k.close(f.fd)
	}, nil)
	return err
}

package driver

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// eventFD is a counter in the kernel. A device adds to it when it interrupts, this
// process to wake a sleeping thread. What the writer stored before the write is
// visible after drain or ppoll: the kernel's lock orders them.
type eventFD struct {
	fd int // does not change until close

	mu   sync.Mutex // signal must not write to a descriptor that was closed and reused
	open bool
}

// one is written by signal: an eventfd takes 8 bytes in the host's order, as any small
// number that is not 0.
var one = [8]byte{0: 1}

func newEventFD() (*eventFD, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	return &eventFD{fd: fd, open: true}, nil
}

// signal wakes the waiting thread. A write fails only if the counter is full, which
// wakes it too.
func (e *eventFD) signal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open {
		_, _ = unix.Write(e.fd, one[:])
	}
}

// drain resets the counter and reports whether it was not 0. buf belongs to the
// caller, so that drain does not allocate.
func (e *eventFD) drain(buf *[8]byte) bool {
	n, err := unix.Read(e.fd, buf[:])
	return err == nil && n == len(buf)
}

func (e *eventFD) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.open {
		return nil
	}
	e.open = false
	if err := unix.Close(e.fd); err != nil {
		return fmt.Errorf("close eventfd: %w", err)
	}
	return nil
}

// ppoll waits until one of the descriptors is readable, at most for d, and reports
// whether one is. It is a system call on the caller's own thread: the Go scheduler
// would park the goroutine and need another thread to wake it. A signal to the thread
// (the Go runtime sends some) ends it early, as if the time had passed.
func ppoll(fds []unix.PollFd, limit *unix.Timespec, d time.Duration) bool {
	*limit = unix.NsecToTimespec(int64(max(d, 0)))
	for i := range fds {
		fds[i].Revents = 0
	}
	n, err := unix.Ppoll(fds, limit, nil)
	return err == nil && n > 0
}

package driver

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// eventFD is a counter in the kernel that a device adds to when it interrupts,
// and we when somebody who sleeps is to wake up.
type eventFD struct {
	fd int // does not change until close

	mu   sync.Mutex // nobody may add to a descriptor that is somebody else's by now
	open bool
}

// one is what signal writes: an eventfd takes 8 bytes in the host's order, and
// any number that is not 0 and far from overflowing will do.
var one = [8]byte{0: 1}

func newEventFD() (*eventFD, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	return &eventFD{fd: fd, open: true}, nil
}

// signal wakes who waits. A full counter, the only failure there is, does so anyhow.
func (e *eventFD) signal() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open {
		_, _ = unix.Write(e.fd, one[:])
	}
}

// take empties the counter and tells whether there was anything in it. buf is
// the caller's, so that nothing is allocated.
func (e *eventFD) take(buf *[8]byte) bool {
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

// doze waits until one of the descriptors has something, for limit at most. It
// is a plain system call on the caller's own thread: the Go scheduler's poller
// would park the goroutine and need another thread to bring it back. A signal to
// the thread (the Go runtime sends some) ends it early, as if the time were up.
func doze(fds []unix.PollFd, limit *unix.Timespec, d time.Duration) bool {
	*limit = unix.NsecToTimespec(int64(max(d, 0)))
	for i := range fds {
		fds[i].Revents = 0
	}
	n, err := unix.Ppoll(fds, limit, nil)
	return err == nil && n > 0
}

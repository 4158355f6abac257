package proto

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// EventFD is an eventfd that a peer gave. Signal adds 1 to it and never blocks,
// whatever the peer does with its end.
type EventFD struct {
	fd       int
	blocking bool
}

// one is what Signal writes: 1, in the host's byte order.
var one = order.AppendUint64(nil, 1)

// OpenEventFD takes fd over after checking that it is an eventfd; another kind
// of file could block its writer, or be written to. On an error fd stays the
// caller's.
func OpenEventFD(fd int) (*EventFD, error) {
	// Only the kernel can name a file like this.
	kind, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if kind != "anon_inode:[eventfd]" {
		return nil, fmt.Errorf("eventfd: descriptor is %s: %w", kind, syscall.EINVAL)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return &EventFD{fd: fd, blocking: flags&unix.O_NONBLOCK == 0}, nil
}

// Signal adds 1 to the counter. A full counter is signalled already, so nothing
// is lost when the write is refused.
//
// The status flags belong to both ends, so a blocking eventfd is left blocking
// and asked for room first. Only a peer that fills the counter at that very
// moment could still hold the writer up, and only its own device.
func (e *EventFD) Signal() {
	if e.blocking {
		ready := [1]unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(ready[:], 0); n != 1 || err != nil {
			return
		}
	}
	for {
		if _, err := unix.Write(e.fd, one); err != unix.EINTR {
			return
		}
	}
}

// Drain empties the counter, so that a Signal that a peer holds up goes on. It
// never blocks unless another reader comes in between.
func (e *EventFD) Drain() {
	ready := [1]unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready[:], 0); n != 1 || err != nil {
		return
	}
	var b [8]byte
	_, _ = unix.Read(e.fd, b[:])
}

// Close closes the descriptor. Nobody may be in Signal.
func (e *EventFD) Close() error { return unix.Close(e.fd) }

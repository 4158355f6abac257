package proto

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// EventFD is an eventfd from a peer.
type EventFD struct {
	fd       int
	blocking bool
}

// one is what Signal writes: 1, in the host's byte order.
var one = order.AppendUint64(nil, 1)

// OpenEventFD checks that fd is an eventfd, because a write to another file could block or
// change it. The EventFD owns fd; after an error the caller does.
func OpenEventFD(fd int) (*EventFD, error) {
	// Only the kernel creates files with this name.
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

// Signal adds 1 to the counter, unless it is full.
//
// Both processes share the status flags, so Signal does not change a blocking eventfd, but
// polls it before the write. A peer that fills the counter between poll and write can
// block Signal, but only for its own device.
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

// Drain resets the counter, which unblocks Signal. It blocks only if another reader
// resets the counter between poll and read.
func (e *EventFD) Drain() {
	ready := [1]unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready[:], 0); n != 1 || err != nil {
		return
	}
	var b [8]byte
	_, _ = unix.Read(e.fd, b[:])
}

// Close closes the descriptor. No Signal may run.
func (e *EventFD) Close() error { return unix.Close(e.fd) }

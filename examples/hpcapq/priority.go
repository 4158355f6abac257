package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Of linux/ioprio.h.
const (
	ioprioWhoProcess = 1 // one thread, by its id
	ioprioClassShift = 13
	ioprioBestEffort = 2
	ioprioIdle       = 3
)

// ioPriority is the I/O priority of a process (ioprio_set(2)).
type ioPriority uintptr

const (
	normal ioPriority = 0
	low    ioPriority = ioprioBestEffort<<ioprioClassShift | 7
	idle   ioPriority = ioprioIdle << ioprioClassShift
)

var ioPriorities = map[string]ioPriority{"normal": normal, "low": low, "idle": idle}

func (p ioPriority) String() string {
	for name, v := range ioPriorities {
		if v == p {
			return name
		}
	}
	return strconv.Itoa(int(p))
}

// Set implements flag.Value.
func (p *ioPriority) Set(text string) error {
	v, ok := ioPriorities[text]
	if !ok {
		return errors.New("must be idle, low or normal")
	}
	*p = v
	return nil
}

// Type implements pflag.Value.
func (*ioPriority) Type() string { return "PRIORITY" }

// setIOPriority sets the priority of all threads, so that a storer does not wait for a
// query.
func setIOPriority(p ioPriority) error {
	if p == normal {
		return nil
	}
	// The priority is that of a thread. New threads inherit it, so two rounds reach those
	// that were created during the first.
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("set the I/O priority: %w", err)
		}
		for _, t := range tasks {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(id), uintptr(p))
			if errno != 0 && errno != unix.ESRCH {
				return fmt.Errorf("set the I/O priority: %w", errno)
			}
		}
	}
	return nil
}

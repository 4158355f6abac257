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

// claim is how much a program claims of the disk, beside others.
type claim uintptr

const (
	normal claim = 0
	low    claim = ioprioBestEffort<<ioprioClassShift | 7
	idle   claim = ioprioIdle << ioprioClassShift
)

var claims = map[string]claim{"normal": normal, "low": low, "idle": idle}

func (c claim) String() string {
	for name, v := range claims {
		if v == c {
			return name
		}
	}
	return strconv.Itoa(int(c))
}

// Set implements flag.Value.
func (c *claim) Set(text string) error {
	v, ok := claims[text]
	if !ok {
		return errors.New("must be idle, low or normal")
	}
	*c = v
	return nil
}

// Type implements pflag.Value.
func (*claim) Type() string { return "PRIORITY" }

// yield gives way to others on the disk: a storer must not wait for a query.
func yield(c claim) error {
	if c == normal {
		return nil
	}
	// The priority is a thread's. Threads inherit it from the one that makes them, so
	// two rounds reach those that were made during the first.
	for range 2 {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("lower the claim on the disk: %w", err)
		}
		for _, t := range tasks {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				continue
			}
			_, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, uintptr(id), uintptr(c))
			if errno != 0 && errno != unix.ESRCH {
				return fmt.Errorf("lower the claim on the disk: %w", errno)
			}
		}
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The range of --fifo: all threads but model and poller get one priority less, and a
// poller that shares its core begins with two less.
const lowestFIFO, highestFIFO = 3, 99

// cores assigns threads to cores: the poller has a core of its own, all other threads,
// including the model's, have the rest.
type cores struct {
	poller int
	model  int // the model's core if it has one of its own
	rest   unix.CPUSet
}

// findCores assigns the last core that this process may use to the poller.
func findCores() (c cores, err error) {
	if err := unix.SchedGetaffinity(0, &c.rest); err != nil {
		return c, fmt.Errorf("read this process's cores: %w", err)
	}
	if c.rest.Count() < 2 {
		return c, errors.New("model and poller need two cores: this process may use only one")
	}
	for n := range len(c.rest) * strconv.IntSize {
		if c.rest.IsSet(n) {
			c.model, c.poller = c.poller, n
		}
	}
	c.rest.Clear(c.poller)
	return c, nil
}

// moveThreads moves all threads of this process off the poller's core; new threads
// inherit that. With a priority it moves none, but puts all threads under SCHED_FIFO,
// below model and poller, which are pinned by then. restore undoes both.
func (c cores) moveThreads(fifo int) (restore func(), err error) {
	all := c.rest
	all.Set(c.poller)
	if fifo > 0 {
		return func() { _ = everyThread(timeShared) },
			everyThread(func(tid int) error { return realTime(tid, fifo-1) })
	}
	return func() { _ = everyThread(func(tid int) error { return unix.SchedSetaffinity(tid, &all) }) },
		everyThread(func(tid int) error { return unix.SchedSetaffinity(tid, &c.rest) })
}

// everyThread calls do for each thread of this process. It ignores threads that have
// ended.
func everyThread(do func(tid int) error) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := do(tid); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("schedule thread %d: %w", tid, err)
		}
	}
	return nil
}

// realTime puts a thread (0: the calling thread) under SCHED_FIFO.
func realTime(tid, priority int) error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: uint32(max(priority, 1))}
	if err := unix.SchedSetAttr(tid, attr, 0); err != nil {
		return fmt.Errorf("set SCHED_FIFO priority %d: %w", priority, err)
	}
	return nil
}

// timeShared puts a thread under SCHED_NORMAL.
func timeShared(tid int) error {
	return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
}

// modelThread pins the calling thread to the model's core and sets its priority.
func (c cores) modelThread(fifo int) error {
	var set unix.CPUSet
	set.Set(c.model)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", c.model, err)
	}
	return realTime(0, fifo)
}

// busyLoop starts a busy loop on a core, which the poller then shares.
func busyLoop(core int) (stop func(), err error) {
	var stopped atomic.Bool
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
		var set unix.CPUSet
		set.Set(core)
		err := errors.Join(unix.SchedSetaffinity(0, &set), timeShared(0))
		started <- err
		for err == nil && !stopped.Load() {
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start a busy loop on core %d: %w", core, err)
	}
	return func() { stopped.Store(true); <-ended }, nil
}

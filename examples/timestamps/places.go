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

// What -fifo can be: all threads but model and poller go one below it, a poller
// that is to share its core begins two below.
const lowestFIFO, highestFIFO = 3, 99

// places says which thread runs where: the poller on a core of its own, all
// others, the model's among them, on the rest.
type places struct {
	poller int
	model  int // where it has one to itself
	rest   unix.CPUSet
}

// findPlaces gives the poller the last core that this process may use.
func findPlaces() (p places, err error) {
	if err := unix.SchedGetaffinity(0, &p.rest); err != nil {
		return p, fmt.Errorf("ask for this process's cores: %w", err)
	}
	if p.rest.Count() < 2 {
		return p, errors.New("model and poller need two cores: this process may use one")
	}
	for c := range len(p.rest) * strconv.IntSize {
		if p.rest.IsSet(c) {
			p.model, p.poller = p.poller, c
		}
	}
	p.rest.Clear(p.poller)
	return p, nil
}

// take moves all threads of this process off the poller's core; those made later
// follow their makers. With a priority they stay where they are, but go before all
// other programs' threads, behind model and poller, which are pinned by then. The
// function returned lets them go where they want.
func (p places) take(fifo int) (restore func(), err error) {
	all := p.rest
	all.Set(p.poller)
	if fifo > 0 {
		return func() { _ = everyThread(ordinary) },
			everyThread(func(tid int) error { return realTime(tid, fifo-1) })
	}
	return func() { _ = everyThread(func(tid int) error { return unix.SchedSetaffinity(tid, &all) }) },
		everyThread(func(tid int) error { return unix.SchedSetaffinity(tid, &p.rest) })
}

// everyThread does something to the threads of this process. One that ends
// meanwhile needs nothing.
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
			return fmt.Errorf("place thread %d: %w", tid, err)
		}
	}
	return nil
}

// realTime puts a thread, 0 for the calling one, under SCHED_FIFO.
func realTime(tid, priority int) error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: uint32(max(priority, 1))}
	if err := unix.SchedSetAttr(tid, attr, 0); err != nil {
		return fmt.Errorf("run under SCHED_FIFO at priority %d: %w", priority, err)
	}
	return nil
}

func ordinary(tid int) error {
	return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
}

// modelThread is what the model's thread does first where it gets a priority.
func (p places) modelThread(fifo int) error {
	var set unix.CPUSet
	set.Set(p.model)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin to core %d: %w", p.model, err)
	}
	return realTime(0, fifo)
}

// hog starts a busy loop on a core, as a program would be that has to share it.
func hog(core int) (stop func(), err error) {
	var over atomic.Bool
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread ends here
		var set unix.CPUSet
		set.Set(core)
		err := errors.Join(unix.SchedSetaffinity(0, &set), ordinary(0))
		started <- err
		for err == nil && !over.Load() {
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("put a busy loop on core %d: %w", core, err)
	}
	return func() { over.Store(true); <-ended }, nil
}

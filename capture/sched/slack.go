package sched

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pollerSlack is the kernel's default timer slack.
const pollerSlack = 50 * time.Microsecond

// SetTimerSlack lets the timers of this process's threads, and of those that they make
// later, expire up to slack late (PR_SET_TIMERSLACK in prctl(2)), except those of pollers.
// It is for programs whose pollers sleep: while a thread is in a long system call, such as
// a write to a disk, the monitor of the Go runtime looks every 20 µs, each time a wake-up.
// Threads other than the caller's need CAP_SYS_NICE.
func SetTimerSlack(slack time.Duration) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("set timer slack: %w", err)
	}
	for _, t := range tasks {
		// Below /proc/self/task there is no such file, but /proc has each thread, too.
		err := os.WriteFile(filepath.Join("/proc", t.Name(), "timerslack_ns"), []byte(strconv.FormatInt(slack.Nanoseconds(), 10)), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the thread has ended
			return fmt.Errorf("set timer slack: %w", err)
		}
	}
	return nil
}

// preciseTimers gives the calling thread the kernel's default slack.
func preciseTimers() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(pollerSlack.Nanoseconds()), 0, 0, 0)
}

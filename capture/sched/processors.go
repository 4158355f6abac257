package sched

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"sync"
)

var processors struct {
	sync.Mutex
	pollers int // of all engines of the process
}

// AddPollers raises GOMAXPROCS to the number of cores plus one and one for each
// poller of the process, if it is lower, and logs that (debug). A poller never leaves its
// processor of the Go scheduler: without more of them than pollers, other
// goroutines do not run. The environment variable GOMAXPROCS wins. The pollers
// count until RemovePollers; GOMAXPROCS is not lowered again.
func AddPollers(l *slog.Logger, pollers int) {
	processors.Lock()
	defer processors.Unlock()
	processors.pollers += pollers
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	want := runtime.NumCPU() + processors.pollers + 1
	if now := runtime.GOMAXPROCS(0); now < want {
		runtime.GOMAXPROCS(want)
		l.Debug(fmt.Sprintf("GOMAXPROCS raised from %d to %d, pollers: %d", now, want, processors.pollers))
	}
}

// RemovePollers undoes the count of AddPollers.
func RemovePollers(pollers int) {
	processors.Lock()
	defer processors.Unlock()
	processors.pollers -= pollers
}

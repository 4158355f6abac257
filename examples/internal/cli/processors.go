package cli

import (
	"os"
	"runtime"
)

// Processors makes room in the Go scheduler for threads that never pause: the
// pollers of a capture and the model's device thread. GOMAXPROCS in the
// environment wins.
func Processors(pollers int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + pollers + 1)
	}
}

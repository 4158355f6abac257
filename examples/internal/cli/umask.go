package cli

import (
	"bytes"
	"os"
	"strconv"
)

// umask returns the process's file mode creation mask. /proc shows it since Linux
// 4.7; umask(2) would change it for other threads.
func umask() os.FileMode {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0o022
	}
	for line := range bytes.Lines(text) {
		if octal, ok := bytes.CutPrefix(line, []byte("Umask:")); ok {
			if n, err := strconv.ParseUint(string(bytes.TrimSpace(octal)), 8, 32); err == nil {
				return os.FileMode(n)
			}
		}
	}
	return 0o022
}

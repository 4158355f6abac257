//go:build vmtest

package vmtest

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// tempRoot returns a folder for temporary files with a short path.
func tempRoot() string {
	if dir := os.TempDir(); len(dir) < 50 {
		return dir
	}
	return "/tmp"
}

// makeScratch creates the folder of this run and removes those of killed runs.
func makeScratch(root string) (string, error) {
	old, err := filepath.Glob(filepath.Join(root, "ixvm*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "ixvm"), ".")
		if n, err := strconv.Atoi(pid); err != nil || n <= 1 || syscall.Kill(n, 0) != syscall.ESRCH {
			continue
		}
		_ = os.RemoveAll(dir) // fails for folders of other users
	}
	return os.MkdirTemp(root, fmt.Sprintf("ixvm%d.", os.Getpid()))
}

// removeWhenInterrupted removes the folder on SIGINT and SIGTERM. QEMU and the models end
// with this process.
func removeWhenInterrupted(dir string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-c
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", s)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}()
}

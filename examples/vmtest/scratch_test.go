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

// tempRoot is a folder for temporary files with a short path.
func tempRoot() string {
	if dir := os.TempDir(); len(dir) < 50 {
		return dir
	}
	return "/tmp"
}

// makeScratch makes this run's folder and removes those of runs that were killed.
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
		_ = os.RemoveAll(dir) // another user's: it stays
	}
	return os.MkdirTemp(root, fmt.Sprintf("ixvm%d.", os.Getpid()))
}

// removeWhenInterrupted removes the folder when this process is asked to end.
// QEMU and the models need no word: they die with it.
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

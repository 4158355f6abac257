package hugepagetest

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

// Reserve makes sure that a number of huge pages is free on a NUMA node, or anywhere
// with hugepage.AnyNode, until t ends. As root it adds them to the pool and removes
// them at the end; other tests may do the same concurrently. Without root, pages
// that are free already suffice. If the pages cannot be had it skips t with the
// reason.
//
// Call it before allocating: clean-ups run in reverse order, and pages in use
// cannot be removed.
func Reserve(t testing.TB, size hugepage.Size, node, pages int) {
	t.Helper()
	state, err := hugepage.ReadState(hugepage.Sysfs, size, node)
	if err != nil {
		t.Skipf("huge pages of %s are needed: %v", size, err)
	}
	file := hugepage.PoolFile(hugepage.Sysfs, size, node)
	if os.Geteuid() != 0 {
		if state.Available() < pages {
			t.Skipf("%d huge pages of %s are needed, %d are free; reserve them as root: echo %d > %s",
				pages, size, state.Available(), state.Total+pages-state.Available(), file)
		}
		return
	}
	got, err := resize(file, pages)
	if err == nil || got > 0 {
		t.Cleanup(func() {
			if _, err := resize(file, -got); err != nil {
				t.Errorf("release %d huge pages of %s: %v", got, size, err)
			}
		})
	}
	if err != nil {
		t.Skipf("%d huge pages of %s are needed: %v", pages, size, err)
	}
	if got < pages {
		t.Skipf("%d huge pages of %s are needed, the kernel found memory for %d; reserve them early after boot: echo %d > %s",
			pages, size, got, state.Total+pages, file)
	}
}

// resize adds n pages to the pool (or removes -n) and returns how many were added.
// A lock on the pool's file makes reading and writing one step for all test
// processes.
func resize(file string, n int) (got int, err error) {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return 0, fmt.Errorf("lock %s: %w", file, err)
	}
	before, err := read(f)
	if err != nil {
		return 0, err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(max(0, before+n))), 0); err != nil {
		return 0, fmt.Errorf("write %d to %s: %w", before+n, file, err)
	}
	after, err := read(f)
	return after - before, err
}

func read(f *os.File) (int, error) {
	buf := make([]byte, 32)
	n, err := f.ReadAt(buf, 0)
	if n == 0 {
		return 0, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	for n > 0 && buf[n-1] == '\n' {
		n--
	}
	return strconv.Atoi(string(buf[:n]))
}

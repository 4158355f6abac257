package servertest

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Pair returns a connected pair of UNIX stream sockets.
func Pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "socketpair")
		defer f.Close() // FileConn duplicates
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(*net.UnixConn)
	}
	return conn(fds[0]), conn(fds[1])
}

// Resources returns the numbers of this process's open descriptors and mappings of
// memfds.
func Resources(t testing.TB) (fds, maps int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries), strings.Count(string(text), "/memfd:") + strings.Count(string(text), "/anon_hugepage")
}

// NoLeak fails the test if there are more descriptors and mappings at its end than at
// this call. Call it first.
func NoLeak(t testing.TB) {
	t.Helper()
	// The runtime's poller opens its own descriptors on first use.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	fds, maps := Resources(t)
	t.Cleanup(func() {
		var nowFDs, nowMaps int
		for range 200 {
			if nowFDs, nowMaps = Resources(t); nowFDs <= fds && nowMaps <= maps {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("leak: %d descriptors and %d mappings, %d and %d before", nowFDs, nowMaps, fds, maps)
	})
}

package mounttest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts a file system of a kind without a device, such as tmpfs, at a folder.
func Mount(tb testing.TB, kind, dir, options string) {
	tb.Helper()
	if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
		tb.Skipf("mount %s: %v; run the tests as root", kind, err)
	}
	unmountAtEnd(tb, dir)
}

// Tmpfs mounts a tmpfs of a size, such as 5m, at a new folder and returns the folder.
func Tmpfs(tb testing.TB, size string) string {
	tb.Helper()
	dir := tb.TempDir()
	Mount(tb, "tmpfs", dir, "size="+size)
	return dir
}

// ReadOnly makes a folder read-only.
func ReadOnly(tb testing.TB, dir string) {
	tb.Helper()
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		tb.Skipf("mount %s read-only: %v; run the tests as root", dir, err)
	}
	unmountAtEnd(tb, dir)
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		tb.Fatalf("remount %s read-only: %v", dir, err)
	}
}

func unmountAtEnd(tb testing.TB, dir string) {
	tb.Cleanup(func() {
		// EINVAL: the test has unmounted it.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
			tb.Errorf("unmount %s: %v", dir, err)
		}
	})
}

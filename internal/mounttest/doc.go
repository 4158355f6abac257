// Package mounttest mounts file systems for tests. A test without the right to mount
// is skipped:
//
//	test ─► Tmpfs, Mount, ReadOnly ─► mount ─► test's folder ─► unmounted at the test's end
package mounttest

package sched

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls return at once, so the Go scheduler need not know of them: an ordinary system
// call wakes its monitor thread, which costs more than the call.

// threadRusage is getrusage(2) of the calling thread.
func threadRusage(r *unix.Rusage) bool {
	const thread = unix.RUSAGE_THREAD
	_, _, errno := unix.RawSyscall(unix.SYS_GETRUSAGE, uintptr(thread), uintptr(unsafe.Pointer(r)), 0)
	return errno == 0
}

// readStart is pread(2) at offset 0. It returns 0 after an error.
func readStart(file int, b []byte) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(file), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

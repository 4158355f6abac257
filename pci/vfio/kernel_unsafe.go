package vfio

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linux makes the system calls.
type linux struct{}

func (linux) open(path string) (int, error) { return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0) }

func (linux) close(fd int) error { return unix.Close(fd) }

// ioctl makes an ioctl. Lifetime: the Go heap does not move slices, and KeepAlive keeps
// arg and refs until the call returns; the owner of mapped memory keeps it mapped.
// Alignment: the kernel requires none for structures.
func (linux) ioctl(fd int, req request, value uintptr, arg []byte, refs ...ref) (int, error) {
	for _, r := range refs {
		order.PutUint64(arg[r.at:], uint64(uintptr(unsafe.Pointer(unsafe.SliceData(r.mem)))))
	}
	var n uintptr
	var errno unix.Errno
	if arg != nil {
		n, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(unsafe.Pointer(&arg[0])))
	} else {
		n, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), value)
	}
	runtime.KeepAlive(arg)
	runtime.KeepAlive(refs)
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

func (linux) pread(fd int, p []byte, off int64) (int, error) { return unix.Pread(fd, p, off) }

func (linux) pwrite(fd int, p []byte, off int64) (int, error) { return unix.Pwrite(fd, p, off) }

func (linux) mmap(fd int, off int64, length int, at []byte) ([]byte, error) {
	return mapAt(fd, off, length, at, unix.MAP_SHARED)
}

// mapAt maps a file, or anonymous memory with MAP_ANONYMOUS. It replaces the mapping at,
// if not nil, atomically: an access of another thread uses the old or the new one.
func mapAt(fd int, off int64, length int, at []byte, flags int) ([]byte, error) {
	var where unsafe.Pointer
	if at != nil {
		// at is an entire mapping of this package, of length bytes.
		where = unsafe.Pointer(unsafe.SliceData(at))
		flags |= unix.MAP_FIXED
	}
	p, err := unix.MmapPtr(fd, off, where, uintptr(length), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), length), nil
}

// unmap unmaps a mapping of mapAt.
func unmap(mem []byte) error {
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem)))
}

// register returns the 32-bit register at off of mapped memory.
//
// Lifetime: mem is mapped by mmap until its region is unreachable. Alignment: a mapping
// starts on a page, and callers check that off is a multiple of 4.
func register(mem []byte, off uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&mem[off : off+4][0]))
}

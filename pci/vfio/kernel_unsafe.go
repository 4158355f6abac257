package vfio

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linux is the real kernel.
type linux struct{}

func (linux) open(path string) (int, error) { return unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0) }

func (linux) close(fd int) error { return unix.Close(fd) }

// ioctl: arg and refs are not moved while the call runs. Slices of the Go heap
// are not moved at all, and KeepAlive keeps them from being freed; memory of
// mmap is its owner's to keep. The kernel wants no alignment of structures.
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

// mapAt maps a file (or nothing, with MAP_ANONYMOUS). A mapping at is replaced,
// in one step for every other thread: an access meets the old one or the new one.
func mapAt(fd int, off int64, length int, at []byte, flags int) ([]byte, error) {
	var where unsafe.Pointer
	if at != nil {
		// at is a whole mapping of this package and length bytes long.
		where = unsafe.Pointer(unsafe.SliceData(at))
		flags |= unix.MAP_FIXED
	}
	p, err := unix.MmapPtr(fd, off, where, uintptr(length), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(p), length), nil
}

// unmap ends a mapping that mapAt made.
func unmap(mem []byte) error {
	return unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem)))
}

// register is the 32-bit register at off of mapped memory.
//
// Lifetime: mem is mapped by mmap, outside of the Go heap, until the region it
// belongs to is unreachable. Alignment: a mapping begins on a page, and callers
// check that off is a multiple of 4.
func register(mem []byte, off uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&mem[off : off+4][0]))
}

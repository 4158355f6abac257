package hugepage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are the system calls of Alloc, as functions so that a test can make each of
// them fail in turn.
type calls struct {
	memfd    func(name string, flags int) (int, error)
	truncate func(fd int, length int64) error
	mmap     func(at addr, length, prot, flags, fd int) (addr, error)
	munmap   func(at addr, length int) error
	mbind    func(at addr, length, node int) error
	madvise  func(at addr, length, advice int) error
	seal     func(fd, seals int) error
	close    func(fd int) error
}

// addr is the start of a mapping of this package. The memory is outside the Go
// heap, so the collector neither moves nor frees it; it lives until munmap.
type addr struct{ p unsafe.Pointer }

// plus returns the address n bytes further, within the same mapping.
func (a addr) plus(n int) addr { return addr{unsafe.Add(a.p, n)} }

// past returns how many bytes a lies past a multiple of align.
func (a addr) past(align int) int { return int(uintptr(a.p) % uintptr(align)) }

// bytes returns the memory at a. The slice must not be used after munmap; a mapping
// begins on a page, so any element type is aligned at its start.
func (a addr) bytes(length int) []byte { return unsafe.Slice((*byte)(a.p), length) }

// maxNodes is the largest number of NUMA nodes Linux can be built for.
const maxNodes = 1024

// mpolBind allows pages of the given nodes only (MPOL_BIND, set_mempolicy(2)).
const mpolBind = 2

// kernel returns the real system calls.
func kernel() calls {
	return calls{
		memfd:    unix.MemfdCreate,
		truncate: unix.Ftruncate,
		close:    unix.Close,
		mmap: func(at addr, length, prot, flags, fd int) (addr, error) {
			// With MAP_FIXED, at lies in a reservation of this package, which it replaces.
			p, err := unix.MmapPtr(fd, 0, at.p, uintptr(length), prot, flags)
			return addr{p}, err
		},
		munmap: func(at addr, length int) error {
			return unix.MunmapPtr(at.p, uintptr(length))
		},
		mbind: func(at addr, length, node int) error {
			const wordBits = 64
			var mask [maxNodes / wordBits]uint64
			mask[node/wordBits] = 1 << (node % wordBits)
			// The kernel reads mask during the call only; the conversion in the
			// argument list keeps it alive until then. The call expects
			// maxnode to be one more than the bits.
			_, _, errno := unix.Syscall6(unix.SYS_MBIND, uintptr(at.p), uintptr(length), mpolBind,
				uintptr(unsafe.Pointer(&mask)), maxNodes+1, 0)
			if errno != 0 {
				return errno
			}
			return nil
		},
		madvise: func(at addr, length, advice int) error {
			for {
				err := unix.Madvise(at.bytes(length), advice)
				// The runtime's preemption signals may interrupt populating.
				if err != unix.EINTR && err != unix.EAGAIN {
					return err
				}
			}
		},
		seal: func(fd, seals int) error {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
			return err
		},
	}
}

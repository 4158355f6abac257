package xdp

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fields are the shared words of a ring and its flags (struct xdp_ring_offset).
type fields struct {
	mapping  []byte
	producer *uint32
	consumer *uint32
	flags    *uint32
}

// mapRing maps a ring of so many entries. Unmap with unix.Munmap(mapping).
func mapRing[E unix.XDPDesc | uint64](fd int, page int64, o unix.XDPRingOffset, entries int) (f fields, ring []E, err error) {
	var one E
	size := int(o.Desc) + entries*int(unsafe.Sizeof(one))
	f.mapping, err = unix.Mmap(fd, page, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return f, nil, os.NewSyscallError("mmap", err)
	}
	word := func(at uint64) *uint32 { return (*uint32)(unsafe.Pointer(&f.mapping[at])) }
	f.producer, f.consumer, f.flags = word(o.Producer), word(o.Consumer), word(o.Flags)
	return f, unsafe.Slice((*E)(unsafe.Pointer(&f.mapping[o.Desc])), entries), nil
}

// ringOffsets returns where the rings of a socket have their fields.
func ringOffsets(fd int) (o unix.XDPMmapOffsets, err error) {
	err = getsockopt(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&o), unsafe.Sizeof(o))
	return o, err
}

// statistics returns the kernel's counters of a socket (struct xdp_statistics).
func statistics(fd int) (s unix.XDPStatistics, err error) {
	err = getsockopt(fd, unix.XDP_STATISTICS, unsafe.Pointer(&s), unsafe.Sizeof(s))
	return s, err
}

// isZeroCopy reports how a bound socket gets its frames.
func isZeroCopy(fd int) (bool, error) {
	var flags uint32
	err := getsockopt(fd, unix.XDP_OPTIONS, unsafe.Pointer(&flags), unsafe.Sizeof(flags))
	return flags&unix.XDP_OPTIONS_ZEROCOPY != 0, err
}

// registerUMEM makes memory the socket's UMEM.
func registerUMEM(fd int, memory []byte, chunk int) error {
	reg := struct { // struct xdp_umem_reg as of Linux 5.4, which later kernels accept
		addr, len             uint64
		chunk, headroom, flag uint32
		_                     uint32
	}{addr: uint64(uintptr(unsafe.Pointer(&memory[0]))), len: uint64(len(memory)), chunk: uint32(chunk)}
	_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG, uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	if e != 0 {
		return os.NewSyscallError("setsockopt", e)
	}
	return nil
}

func getsockopt(fd, option int, value unsafe.Pointer, size uintptr) error {
	n := uint32(size)
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option), uintptr(value), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return os.NewSyscallError("getsockopt", e)
	}
	if uintptr(n) != size {
		return fmt.Errorf("getsockopt SOL_XDP %d: %d bytes, want %d. The kernel is older than Linux 5.9", option, n, size)
	}
	return nil
}

// pause waits until a descriptor can be read, or some milliseconds at most. It keeps the
// processor of the Go scheduler, which a poller has for itself: handing it over and taking
// it back costs more than twice as much as the pause itself. A signal, such as that by
// which the garbage collector stops threads, ends the pause.
func pause(fd *unix.PollFd, limit time.Duration) {
	t := unix.NsecToTimespec(int64(limit))
	_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(fd)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
}

package packet

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// word is the 32-bit word at an offset, a multiple of 4, of a ring's memory. The memory
// is mapped outside the Go heap and shared with the kernel; the port unmaps it last.
func word(mem []byte, offset int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&mem[offset : offset+4][0]))
}

// ethtoolValue is struct ethtool_value of linux/ethtool.h.
type ethtoolValue struct{ cmd, data uint32 }

// ethtool makes a request of SIOCETHTOOL with a struct ethtool_value, and returns its
// data. Both structures live until the call returns.
func ethtool(fd int, name string, cmd, data uint32) (uint32, error) {
	v := ethtoolValue{cmd, data}
	var request struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // of struct ifreq's union
	}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	request.data = unsafe.Pointer(&v)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return 0, errno
	}
	return v.data, nil
}

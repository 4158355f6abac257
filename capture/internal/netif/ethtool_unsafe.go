package netif

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool makes an ethtool call. request begins with the command and has the layout of
// its structure in linux/ethtool.h.
func ethtool(fd int, name string, request []uint32) error {
	var ifr struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // of struct ifreq's union
	}
	copy(ifr.name[:unix.IFNAMSIZ-1], name)
	ifr.data = unsafe.Pointer(&request[0])
	_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	if e != 0 {
		return os.NewSyscallError("ethtool ioctl", e)
	}
	return nil
}

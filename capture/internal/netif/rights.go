package netif

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

var capabilityNames = map[int]string{
	unix.CAP_NET_RAW:   "CAP_NET_RAW",
	unix.CAP_NET_ADMIN: "CAP_NET_ADMIN",
	unix.CAP_BPF:       "CAP_BPF",
}

// Needs adds to an error of missing rights which of the capabilities (unix.CAP_NET_RAW,
// CAP_NET_ADMIN, CAP_BPF) the process lacks. Other errors it returns as they are.
func Needs(err error, capabilities ...int) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		return err
	}
	return lacking(err, effective(), capabilities)
}

// lacking is Needs for a process with the effective capabilities of a bit set.
func lacking(err error, has uint64, capabilities []int) error {
	lack := absent(has, capabilities)
	if len(lack) == 0 {
		return fmt.Errorf("%w. The process has the capabilities for it, but not in the user namespace that owns the network: run it outside of the container's user namespace", err)
	}
	return fmt.Errorf("%w: %s missing. Run as root, or setcap %s+ep PROGRAM", err, strings.Join(lack, " and "), strings.ToLower(strings.Join(lack, ",")))
}

// absent returns the names of the capabilities that a bit set lacks.
func absent(has uint64, capabilities []int) (names []string) {
	for _, c := range capabilities {
		if has&(1<<c) == 0 {
			names = append(names, capabilityNames[c])
		}
	}
	return names
}

// effective returns the effective capabilities of the thread, a bit each.
func effective() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return 0
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32
}

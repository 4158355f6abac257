package netif

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Statistic is one counter of an interface's driver.
type Statistic struct {
	Name  string
	Value uint64
}

// Statistics returns what `ethtool -S` shows of an interface of the calling thread's
// namespace. It needs no rights.
func Statistics(name string) ([]Statistic, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return statistics(fd, name)
}

// Statistics returns what `ethtool -S` shows, whatever the namespace of the calling thread.
func (i *Interface) Statistics() ([]Statistic, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.links == nil {
		return nil, fmt.Errorf("read the statistics of %s: %w", i.Name, os.ErrClosed)
	}
	return statistics(i.fd, i.Name)
}

// statistics asks for the statistics of an interface (linux/ethtool.h: ETHTOOL_GSSET_INFO,
// ETHTOOL_GSTRINGS, ETHTOOL_GSTATS). fd is a socket of its namespace.
func statistics(fd int, name string) ([]Statistic, error) {
	const (
		set       = 1 // enum ethtool_stringset: ETH_SS_STATS
		nameWords = 32 / 4
		// The kernel writes as many as there are at the time of the call.
		spare = 1024
	)
	fail := func(what string, err error) error { return fmt.Errorf("%s of %s: %w", what, name, err) }

	// Command, reserved, a 64-bit mask of sets, the size of the set asked for.
	info := []uint32{unix.ETHTOOL_GSSET_INFO, 0, 1 << set, 0, 0}
	if err := ethtool(fd, name, info); err != nil {
		return nil, fail("read the number of statistics", err)
	}
	n := int(info[4])
	if info[2] == 0 || n == 0 {
		return nil, fmt.Errorf("statistics of %s: its driver has none", name)
	}
	names := make([]uint32, 3+(n+spare)*nameWords) // command, set, number
	names[0], names[1], names[2] = unix.ETHTOOL_GSTRINGS, set, uint32(n)
	if err := ethtool(fd, name, names); err != nil {
		return nil, fail("read the names of the statistics", err)
	}
	values := make([]uint32, 2+2*(n+spare)) // command, number
	values[0], values[1] = unix.ETHTOOL_GSTATS, uint32(n)
	if err := ethtool(fd, name, values); err != nil {
		return nil, fail("read the statistics", err)
	}
	all := make([]Statistic, min(n, int(names[2]), int(values[1])))
	for i := range all {
		text := bytesOf(names[3+i*nameWords:][:nameWords])
		text, _, _ = bytes.Cut(text, []byte{0})
		all[i] = Statistic{string(bytes.TrimSpace(text)), binary.NativeEndian.Uint64(bytesOf(values[2+2*i:][:2]))}
	}
	return all, nil
}

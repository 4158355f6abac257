package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// firstSlot is the slot of root port rp0 on the root bus; rp1 is in the next slot.
const firstSlot = 0x10

// rootPort finds the root port in a device's path in sysfs.
var rootPort = regexp.MustCompile(`/pci0000:00/0000:00:([0-9a-f]{2})\.0/`)

// nameInterfaces names the interfaces below root ports by the number of the root port.
// It ignores interfaces that disappear.
func nameInterfaces(root string) error {
	links, err := filepath.Glob(filepath.Join(root, "sys/class/net/*"))
	if err != nil {
		return err
	}
	var errs error
	for _, l := range links {
		device, err := filepath.EvalSymlinks(filepath.Join(l, "device"))
		if err != nil {
			continue // a virtual interface
		}
		name, ok := nicName(device + "/")
		if !ok || filepath.Base(l) == name {
			continue
		}
		link, err := netlink.LinkByName(filepath.Base(l))
		if err == nil {
			err = netlink.LinkSetName(link, name)
		}
		var notFound netlink.LinkNotFoundError
		if err != nil && !errors.As(err, &notFound) && !errors.Is(err, unix.ENODEV) {
			errs = errors.Join(errs, fmt.Errorf("name %s %s: %w", filepath.Base(l), name, err))
		}
	}
	return errs
}

// nicName returns the name of the interface of the device with this path.
func nicName(device string) (string, bool) {
	m := rootPort.FindStringSubmatch(device)
	if m == nil {
		return "", false
	}
	slot, err := strconv.ParseUint(m[1], 16, 8)
	if err != nil || slot < firstSlot {
		return "", false
	}
	return fmt.Sprintf("nic%d", slot-firstSlot), true
}

// watchInterfaces names interfaces when they appear.
func watchInterfaces() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return fmt.Errorf("open the kernel's event socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("bind the kernel's event socket: %w", err)
	}
	go func() {
		defer unix.Close(fd)
		b := make([]byte, 16<<10)
		for {
			n, _, err := unix.Recvfrom(fd, b, 0)
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) {
				continue
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "agentd: kernel's event socket:", err)
				return
			}
			if bytes.HasPrefix(b[:n], []byte("add@")) && bytes.Contains(b[:n], []byte("\x00SUBSYSTEM=net\x00")) {
				if err := nameInterfaces("/"); err != nil {
					fmt.Fprintln(os.Stderr, "agentd:", err)
				}
			}
		}
	}()
	return nil
}

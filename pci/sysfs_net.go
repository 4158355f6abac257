package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoInterface reports that there is no network interface of a name. It matches
// fs.ErrNotExist.
var ErrNoInterface error = notExist("no such interface")

// ErrNotPCI reports that a network interface is none of a PCI function: a virtual one,
// or one of another bus, such as USB.
var ErrNotPCI = errors.New("no PCI function behind it")

// Link is a network interface of this process's network namespace.
type Link struct {
	Name string // its own name, if it was found by an alternative one
	Kind string // "device" for hardware, else veth, bridge, loopback, ...
}

// FindLink finds an interface by its name or an alternative name. The error wraps
// ErrNoInterface if there is none. It uses netlink, because a mounted sysfs may
// show another namespace's interfaces and has no alternative names.
func FindLink(name string) (Link, error) {
	found, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) || errors.Is(err, unix.ERANGE) { // ERANGE: no name is that long
		return Link{}, ErrNoInterface
	}
	if err != nil {
		return Link{}, fmt.Errorf("query netlink: %w", err)
	}
	l := Link{Name: found.Attrs().Name, Kind: found.Type()}
	if found.Attrs().Flags&net.FlagLoopback != 0 {
		l.Kind = "loopback"
	}
	return l, nil
}

// byInterface returns the address of the function behind a network interface. The
// error wraps ErrNoInterface if there is no interface of that name, and ErrNotPCI if no
// PCI function has it.
func (r Resolver) byInterface(name string) (Address, error) {
	root := r.Sysfs
	l, err := r.FindLink(name)
	if err != nil {
		return Address{}, fmt.Errorf("interface %q: %w", name, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "class/net", l.Name, "device"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(root, "class/net", l.Name)); errors.Is(err, fs.ErrNotExist) {
			return Address{}, fmt.Errorf("interface %q: %s does not show it: sysfs was mounted in another network namespace", name, root)
		}
		return Address{}, fmt.Errorf("interface %q: is virtual (%s), %w", name, l.Kind, ErrNotPCI)
	}
	if err != nil {
		return Address{}, fmt.Errorf("interface %q: %w", name, err)
	}
	// The function is the device itself, or a parent of it, as with virtio:
	// .../0000:00:03.0/virtio0.
	for ; ; dir = filepath.Dir(dir) {
		if a, err := ParseAddress(filepath.Base(dir)); err == nil {
			return a, nil
		}
		if dir == filepath.Dir(dir) {
			return Address{}, fmt.Errorf("interface %q: %w", name, ErrNotPCI)
		}
	}
}

// readInterfaces lists the network interfaces of a function, including those of a
// virtio device on it.
func readInterfaces(dir string) ([]string, error) {
	var names []string
	for _, pattern := range []string{"net/*", "virtio*/net/*"} {
		// dir may contain pattern characters, because a root may.
		matches, err := fs.Glob(os.DirFS(dir), pattern)
		if err != nil {
			return nil, err
		}
		for _, m := range matches {
			names = append(names, filepath.Base(m))
		}
	}
	slices.Sort(names)
	return names, nil
}

package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoInterface says that there is no network interface of a name.
var ErrNoInterface = errors.New("no such interface")

// link is what the kernel says about a network interface.
type link struct {
	name string // its own name, where it was asked for by an alternative one
	kind string // "device" for hardware, else veth, bridge, ...
}

// linkFinder finds an interface in this network namespace. Its error wraps
// ErrNoInterface when there is none.
type linkFinder func(name string) (link, error)

// ByInterface is the address of the function behind a network interface. The
// error wraps ErrNoInterface when there is no interface of that name.
func ByInterface(root, name string) (Address, error) { return byInterface(root, name, findLink) }

// findLink asks by netlink, which knows this process's network namespace and
// alternative names; a mounted sysfs may show another namespace's interfaces.
func findLink(name string) (link, error) {
	found, err := netlink.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) || errors.Is(err, unix.ERANGE) { // ERANGE: no name is that long
		return link{}, ErrNoInterface
	}
	if err != nil {
		return link{}, fmt.Errorf("ask netlink: %w", err)
	}
	return link{name: found.Attrs().Name, kind: found.Type()}, nil
}

func byInterface(root, name string, find linkFinder) (Address, error) {
	l, err := find(name)
	if err != nil {
		return Address{}, fmt.Errorf("interface %q: %w", name, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "class/net", l.name, "device"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(root, "class/net", l.name)); errors.Is(err, fs.ErrNotExist) {
			return Address{}, fmt.Errorf("interface %q: %s does not show it: it was mounted in another network namespace", name, root)
		}
		return Address{}, fmt.Errorf("interface %q: is virtual (%s), no PCI function is behind it", name, l.kind)
	}
	if err != nil {
		return Address{}, fmt.Errorf("interface %q: %w", name, err)
	}
	// The function is the device itself, or what the device sits on, as with
	// virtio: .../0000:00:03.0/virtio0.
	for ; ; dir = filepath.Dir(dir) {
		if a, err := ParseAddress(filepath.Base(dir)); err == nil {
			return a, nil
		}
		if dir == filepath.Dir(dir) {
			return Address{}, fmt.Errorf("interface %q: its device is not on a PCI bus", name)
		}
	}
}

// readInterfaces lists the network interfaces of a function, its own and those
// of a virtio device on it.
func readInterfaces(dir string) ([]string, error) {
	var names []string
	for _, pattern := range []string{"net/*", "virtio*/net/*"} {
		// The kernel's own addresses hold no pattern characters; a root may.
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

package vfio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/internal/openfiles"
)

// bindCommand returns the command that binds a function to vfio-pci for this user.
func bindCommand(f pci.Function) string {
	return fmt.Sprintf("sudo examples/vfio-bind bind %s -u $USER", f.Address)
}

// checkFunction returns an error if the function cannot be opened: no IOMMU, or not
// bound to vfio-pci.
func (h *host) checkFunction(f pci.Function) error {
	if f.Group == pci.NoGroup {
		return errors.New("the IOMMU is off. Enable it in the firmware (VT-d, AMD-Vi) and boot Linux with " +
			"intel_iommu=on (Intel), or without amd_iommu=off (AMD)")
	}
	if !strings.Contains(f.Driver, "vfio") {
		return fmt.Errorf("not bound to vfio-pci. Bind it: %s", bindCommand(f))
	}
	return nil
}

// openNode opens a device node. The error explains why it cannot be opened.
func (h *host) openNode(f pci.Function, path string) (*file, error) {
	file, err := openFile(h.k, h.limits, path)
	switch {
	case err == nil:
		return file, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open %s: %w: owner %s. Bind it for this user: %s", path, err, owner(path), bindCommand(f))
	case errors.Is(err, syscall.EBUSY):
		return nil, fmt.Errorf("open %s: %w: only one process at a time may open it%s", path, err, h.usersOf(0, path))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		fix := bindCommand(f)
		switch path {
		case h.containerNode():
			fix = "sudo modprobe vfio-pci"
		case h.iommuNode():
			fix = "sudo modprobe iommufd (Linux 6.2), or use vfio-group:" + f.Address.String()
		}
		return nil, fmt.Errorf("open %s: %w: %s", path, err, fix)
	}
	var timeout *TimeoutError
	if errors.As(err, &timeout) {
		return nil, err
	}
	return nil, fmt.Errorf("open %s: %w", path, err)
}

// owner returns the owner and the mode of a node: "root:root, mode 0600".
func owner(path string) string {
	fi, err := os.Stat(path)
	if err != nil {
		return "unknown"
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "unknown"
	}
	name, group := strconv.Itoa(int(st.Uid)), strconv.Itoa(int(st.Gid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("%s:%s, mode %#o", name, group, fi.Mode().Perm())
}

// usersOf lists the processes that have one of the nodes open, as far as this user may
// see them. The first own files of this process are not listed.
func (h *host) usersOf(own int, nodes ...string) string {
	found := openfiles.Of(h.proc, own, nodes...)
	if len(found) == 0 {
		return ". It is open in a process of another user: sudo fuser -v " + strings.Join(nodes, " ")
	}
	return ": " + strings.Join(found, ", ")
}

// notViable lists the functions that make a group not viable. err, if not nil, is the
// kernel's. This process has one of the group's nodes open.
func (h *host) notViable(f pci.Function, err error) error {
	const own = 1
	if err == nil {
		err = fmt.Errorf("%v: group not viable", groupGetStatus)
	}
	var inUse, commands []string
	for _, name := range f.GroupPeers {
		a, perr := pci.ParseAddress(name)
		if perr != nil {
			inUse = append(inUse, name)
			continue
		}
		peer, perr := pci.Lookup(h.sys, a)
		if perr != nil || unused(peer) {
			continue
		}
		inUse = append(inUse, fmt.Sprintf("%s (%s)", name, peer.Driver))
		commands = append(commands, bindCommand(peer))
	}
	if len(inUse) == 0 {
		return fmt.Errorf("%w: IOMMU group %d is in use%s", err, f.Group, h.usersOf(own, h.groupNode(f.Group), h.deviceNode(f)))
	}
	return fmt.Errorf("%w: VFIO needs all functions of IOMMU group %d, and the kernel uses %s. Bind them: %s",
		err, f.Group, strings.Join(inUse, ", "), strings.Join(commands, "; "))
}

// unused reports whether a function does no DMA for the kernel: it is bound to VFIO, to
// no driver, or is a bridge.
func unused(f pci.Function) bool {
	return f.Driver == "" || strings.Contains(f.Driver, "vfio") || f.Driver == "pci-stub" || f.Driver == "pcieport"
}

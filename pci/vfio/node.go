package vfio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/ixcap/ixcap/pci"
)

// bindCommand is what hands a function to this user.
func bindCommand(f pci.Function) string {
	return fmt.Sprintf("sudo examples/vfio-bind bind %s -u $USER", f.Address)
}

// ready tells what keeps a function from being opened at all, before any node is.
func (h *host) ready(f pci.Function) error {
	if f.Group == pci.NoGroup {
		return errors.New("it is in no IOMMU group: the IOMMU is off. Switch it on in the firmware (VT-d, AMD-Vi) and boot Linux with " +
			"intel_iommu=on (Intel), or without amd_iommu=off (AMD)")
	}
	if !strings.Contains(f.Driver, "vfio") {
		return fmt.Errorf("vfio-pci does not hold it. Hand it over: %s", bindCommand(f))
	}
	return nil
}

// openNode opens a device node, or says what is wrong with it.
func (h *host) openNode(f pci.Function, path string) (*file, error) {
	file, err := openFile(h.k, h.limits, path)
	switch {
	case err == nil:
		return file, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open %s: %w: the node belongs to %s; hand it over: %s", path, err, owner(path), bindCommand(f))
	case errors.Is(err, syscall.EBUSY):
		return nil, fmt.Errorf("open %s: %w: it has one user at a time%s", path, err, h.holders(0, path))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		mend := bindCommand(f)
		switch path {
		case h.containerNode():
			mend = "sudo modprobe vfio-pci"
		case h.iommuNode():
			mend = "sudo modprobe iommufd (Linux 6.2), or use vfio-group:" + f.Address.String()
		}
		return nil, fmt.Errorf("open %s: %w: %s", path, err, mend)
	}
	var timeout *TimeoutError
	if errors.As(err, &timeout) {
		return nil, err
	}
	return nil, fmt.Errorf("open %s: %w", path, err)
}

// owner describes who may use a node: "root:root, mode 0600".
func owner(path string) string {
	fi, err := os.Stat(path)
	if err != nil {
		return "somebody else"
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "somebody else"
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

// holders names the processes that have one of the nodes open, as far as this
// user can see them. So many files of this process's own do not count.
func (h *host) holders(own int, nodes ...string) string {
	links, _ := filepath.Glob(filepath.Join(h.proc, "[0-9]*/fd/*"))
	var found []string
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !slices.Contains(nodes, target) {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		name, _ := os.ReadFile(filepath.Join(dir, "comm"))
		who := fmt.Sprintf("process %s (%s)", filepath.Base(dir), strings.TrimSpace(string(name)))
		if filepath.Base(dir) == strconv.Itoa(os.Getpid()) {
			if own--; own >= 0 {
				continue
			}
			who = "this process"
		}
		if !slices.Contains(found, who) {
			found = append(found, who)
		}
	}
	if len(found) == 0 {
		return ", somebody this user cannot see: sudo fuser -v " + strings.Join(nodes, " ")
	}
	return ": " + strings.Join(found, ", ")
}

// notViable names the functions that keep a group from being handed over whole.
// Err, if not nil, is the kernel's refusal. This process has one of the group's
// nodes open.
func (h *host) notViable(f pci.Function, err error) error {
	const own = 1
	if err == nil {
		err = fmt.Errorf("%v: the group is not viable", groupGetStatus)
	}
	var culprits, commands []string
	for _, name := range f.GroupPeers {
		a, perr := pci.ParseAddress(name)
		if perr != nil {
			culprits = append(culprits, name)
			continue
		}
		peer, perr := pci.Lookup(h.sys, a)
		if perr != nil || harmless(peer) {
			continue
		}
		culprits = append(culprits, fmt.Sprintf("%s, held by %s", name, peer.Driver))
		commands = append(commands, bindCommand(peer))
	}
	if len(culprits) == 0 {
		return fmt.Errorf("%w: IOMMU group %d is in use%s", err, f.Group, h.holders(own, h.groupNode(f.Group), h.deviceNode(f)))
	}
	return fmt.Errorf("%w: IOMMU group %d is handed over whole, and the kernel still uses %s: %s",
		err, f.Group, strings.Join(culprits, "; "), strings.Join(commands, "; "))
}

// harmless tells that a function of the group does no DMA for the kernel: it is
// VFIO's, nobody's, or a bridge.
func harmless(f pci.Function) bool {
	return f.Driver == "" || strings.Contains(f.Driver, "vfio") || f.Driver == "pci-stub" || f.Driver == "pcieport"
}

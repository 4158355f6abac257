package doctor

import (
	"cmp"
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

// kernel: MADV_POPULATE_WRITE, without which memory that is missing kills the
// program later, came with Linux 5.14.
func (e examiner) kernel() Check {
	release := e.text("proc/sys/kernel/osrelease")
	c := Check{Name: "kernel", State: OK, Found: "Linux " + release}
	var major, minor int
	switch _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); {
	case err != nil:
		c.State, c.Found = Unknown, "the kernel's version cannot be read"
	case major < 5 || major == 5 && minor < 14:
		c.State = Failed
		c.Why = "memory for DMA is populated by a call that came with Linux 5.14"
		c.Fix = "install a kernel of Linux 5.14 or newer"
	}
	return c
}

// iommu: what stands between a device and all memory. An IOMMU that works has a
// device in /sys/class/iommu and groups; the firmware's table tells one that
// Linux was not told to use from one that is off or not there.
func (e examiner) iommu() Check {
	c := Check{Name: "IOMMU", State: OK}
	var units []string
	entries, _ := os.ReadDir(e.path("sys/class/iommu"))
	for _, entry := range entries {
		units = append(units, entry.Name())
	}
	groups := 0
	entries, _ = os.ReadDir(e.path("sys/kernel/iommu_groups"))
	for _, entry := range entries {
		// VFIO's mode without an IOMMU makes groups of its own.
		if e.text("sys/kernel/iommu_groups", entry.Name(), "name") != "vfio-noiommu" {
			groups++
		}
	}
	if groups > 0 {
		c.Found = fmt.Sprintf("on (%s), %d groups", cmp.Or(strings.Join(short(units, 3), " "), "no units listed"), groups)
		return c
	}
	c.State = Failed
	c.Why = "VFIO opens a device only behind an IOMMU: without one, a wrong address would overwrite any memory"
	line := strings.Fields(e.text("proc/cmdline"))
	intel := strings.Contains(e.text("proc/cpuinfo"), "GenuineIntel")
	const grub = "\nadd it to GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub; sudo reboot"
	switch {
	case slices.Contains(line, "iommu=off") || slices.Contains(line, "intel_iommu=off") || slices.Contains(line, "amd_iommu=off"):
		c.Found = "switched off by the kernel's command line"
		c.Fix = "take iommu=off, intel_iommu=off and amd_iommu=off out of /etc/default/grub\nsudo update-grub; sudo reboot"
	case e.exists("sys/firmware/acpi/tables/DMAR"):
		c.Found = "the firmware offers it (VT-d, ACPI table DMAR), the kernel does not use it"
		c.Fix = "boot the kernel with: intel_iommu=on iommu=pt" + grub
		if slices.Contains(line, "intel_iommu=on") {
			c.Found += ", though intel_iommu=on is there"
			c.Fix = "sudo dmesg | grep -i -e DMAR -e IOMMU    # tells why"
		}
	case e.exists("sys/firmware/acpi/tables/IVRS"):
		c.Found = "the firmware offers it (AMD-Vi, ACPI table IVRS), the kernel does not use it"
		c.Fix = "sudo dmesg | grep -i -e AMD-Vi -e IVRS    # tells why; the kernel needs no parameter for it"
	case intel:
		c.Found = "off: the firmware does not offer it"
		c.Fix = "switch VT-d on in the firmware's set-up\nboot the kernel with: intel_iommu=on iommu=pt" + grub
	default:
		c.Found = "off: the firmware does not offer it"
		c.Fix = "switch the IOMMU (AMD-Vi, SMMU) on in the firmware's set-up, or give the guest one"
	}
	return c
}

// short is at most n elements and a mark for the rest.
func short(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
}

// module: vfio-pci, and which forms of VFIO the kernel has.
func (e examiner) module() Check {
	c := Check{Name: "vfio-pci", State: OK}
	var forms []string
	if e.exists("dev/vfio/vfio") {
		forms = append(forms, "group and container")
	}
	if e.exists("dev/iommu") {
		forms = append(forms, "iommufd")
	}
	modules := e.path("lib/modules", e.text("proc/sys/kernel/osrelease"))
	switch {
	case e.exists("sys/bus/pci/drivers/vfio-pci"):
		c.Found = "loaded; the kernel offers: " + cmp.Or(strings.Join(forms, ", "), "nothing in /dev/vfio yet")
	case mentions(filepath.Join(modules, "modules.dep"), "/vfio-pci.ko") || mentions(filepath.Join(modules, "modules.builtin"), "/vfio-pci.ko"):
		c.Found = "there, not loaded: vfio-bind loads it"
	case !e.exists("lib/modules"):
		c.State, c.Found = Unknown, "not loaded, and the modules of this kernel are not in /lib/modules"
	default:
		c.State, c.Found = Failed, "this kernel has no module vfio-pci"
		c.Why = "it is the kernel's driver that lets a program have a device"
		c.Fix = "install the kernel's full set of modules (Ubuntu: linux-modules-extra-$(uname -r); Debian: a kernel without cloud in its name)"
	}
	return c
}

func mentions(file, what string) bool {
	text, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(text), what)
}

// group: VFIO hands a group over whole.
func (e examiner) group(p Port) Check {
	c := Check{Name: "IOMMU group", State: OK}
	if p.Group == pci.NoGroup {
		c.State, c.Found = Unknown, "none while no IOMMU isolates the port"
		return c
	}
	var culprits, fixes []string
	for _, peer := range p.Peers {
		if !peer.inUse() {
			continue
		}
		culprits = append(culprits, fmt.Sprintf("%s (%s)", peer.Address, peer.Driver))
		fix := fmt.Sprintf("echo %s | sudo tee /sys/bus/pci/devices/%[1]s/driver/unbind", peer.Address)
		if strings.HasPrefix(e.text("sys/bus/pci/devices", peer.Address, "class"), "0x02") {
			fix = e.spec.Bind(Binding{Address: peer.Address, Force: true})
		}
		fixes = append(fixes, fix)
	}
	switch {
	case len(culprits) > 0:
		c.State = Failed
		c.Found = fmt.Sprintf("%d is not free: the kernel uses %s", p.Group, strings.Join(culprits, ", "))
		c.Why = "the IOMMU cannot tell the functions of a group apart, so VFIO hands it over whole or not at all"
		c.Fix = strings.Join(fixes, "\n")
	case len(p.Peers) == 0:
		c.Found = fmt.Sprintf("%d, the port is alone in it", p.Group)
	default:
		c.Found = fmt.Sprintf("%d, with %s: none in the kernel's use", p.Group, strings.Join(p.GroupPeers, " "))
	}
	return c
}

// bound: the port is vfio-pci's; if not, whether vfio-bind would take it.
func (e examiner) driver(p Port) Check {
	c := Check{Name: "driver", State: OK, Found: "vfio-pci"}
	if p.FormerInterface != "" {
		c.Found += " (the interface was " + p.FormerInterface + ")"
	}
	if p.Driver == "vfio-pci" {
		return c
	}
	c.State = Failed
	c.Why = "the port is driven by this program or by the kernel, not by both: it must be handed to vfio-pci"
	c.Fix = e.spec.Bind(Binding{Address: p.Address.String()})
	c.Found = cmp.Or(p.Driver, "no driver")
	if len(p.Interfaces) > 0 {
		c.Found += ", which has it as " + strings.Join(p.Interfaces, " ")
	} else if p.Driver == "ixgbe" {
		c.Found += ", its interface is in another network namespace"
	}
	if used := e.uses(p); len(used) > 0 {
		c.Found += "; it carries " + strings.Join(short(used, 3), ", ")
		c.Why += ", and with it goes what it carries"
		c.Fix = e.spec.Bind(Binding{Address: p.Address.String(), Force: true}) + "    # or move that to another port first"
	}
	return c
}

// node: whether this user may open what VFIO shows for the port. The device's
// own node needs /dev/iommu too, the group's needs the container.
func (e examiner) deviceNode(p Port) Check {
	c := Check{Name: "device node", State: OK}
	if !strings.Contains(p.Driver, "vfio") || p.Group == pci.NoGroup {
		c.State, c.Found = Unknown, "none until the port is bound to vfio-pci"
		return c
	}
	forms := [][]string{{fmt.Sprintf("/dev/vfio/%d", p.Group), "/dev/vfio/vfio"}}
	cdevs, _ := filepath.Glob(e.path("sys/bus/pci/devices", p.Address.String(), "vfio-dev/vfio*/dev"))
	for _, cdev := range cdevs {
		own := []string{"/dev/vfio/devices/" + filepath.Base(filepath.Dir(cdev)), "/dev/iommu"}
		forms = slices.Insert(forms, 0, own)
	}
	var closed, obstacles []string
	busy := false
	for _, nodes := range forms {
		usable := true
		for _, node := range nodes {
			err := e.open(e.path(node))
			if err == nil {
				continue
			}
			usable = false
			switch {
			case errors.Is(err, syscall.EBUSY):
				busy = true
				obstacles = append(obstacles, node+" is in use")
			case errors.Is(err, fs.ErrPermission):
				closed = append(closed, fmt.Sprintf("%s (%s)", node, e.owner(node)))
			case errors.Is(err, fs.ErrNotExist):
				obstacles = append(obstacles, "there is no "+node)
			default:
				obstacles = append(obstacles, err.Error())
			}
		}
		if usable {
			c.Found = strings.Join(nodes, " and ") + " can be opened"
			return c
		}
	}
	if len(closed) > 0 {
		obstacles = slices.Insert(obstacles, 0, fmt.Sprintf("closed to %s: %s", e.user(), strings.Join(closed, ", ")))
	}
	c.State = Failed
	c.Found = strings.Join(obstacles, "; ")
	c.Why = "a program gets the port by opening its node, which only root may unless it is handed over"
	c.Fix = e.spec.Bind(Binding{Address: p.Address.String()})
	if busy {
		c.Why = "a port has one user at a time"
		c.Fix = fmt.Sprintf("sudo fuser -v %s    # names the program that has it", forms[len(forms)-1][0])
	}
	return c
}

// user is who runs the examination.
func (e examiner) user() string {
	id := e.status("Uid")
	if len(id) < 2 {
		return "somebody"
	}
	return userName(id[1]) // real, effective, ...
}

// status is a line of /proc/self/status, in words.
func (e examiner) status(key string) []string {
	for line := range strings.Lines(e.text("proc/self/status")) {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			return strings.Fields(v)
		}
	}
	return nil
}

func (e examiner) owner(node string) string {
	st, err := os.Stat(e.path(node))
	if err != nil {
		return "somebody else's"
	}
	sys := st.Sys().(*syscall.Stat_t)
	group := strconv.Itoa(int(sys.Gid))
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("%s:%s %04o", userName(strconv.Itoa(int(sys.Uid))), group, st.Mode().Perm())
}

func userName(id string) string {
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}

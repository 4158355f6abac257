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

	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/pci"
)

// kernel checks the kernel's version. MADV_POPULATE_WRITE, without which a shortage
// of memory kills the program later, came with Linux 5.14.
func (e examiner) kernel() Check {
	release := e.text("proc/sys/kernel/osrelease")
	c := Check{Name: "kernel", State: OK, Found: "Linux " + release}
	var major, minor int
	switch _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); {
	case err != nil:
		c.State, c.Found = Unknown, "version not readable"
	case major < 5 || major == 5 && minor < 14:
		c.State = Failed
		c.Why = "DMA memory is populated with MADV_POPULATE_WRITE, new in Linux 5.14"
		c.Fix = "install Linux 5.14 or newer"
	}
	return c
}

// iommu checks that the kernel uses an IOMMU. One in use has an entry in
// /sys/class/iommu, and groups. The firmware's ACPI table distinguishes an IOMMU that
// Linux does not use from one that is off or missing.
func (e examiner) iommu() Check {
	c := Check{Name: "IOMMU", State: OK}
	var iommus []string
	entries, _ := os.ReadDir(e.path("sys/class/iommu"))
	for _, entry := range entries {
		iommus = append(iommus, entry.Name())
	}
	groups := 0
	entries, _ = os.ReadDir(e.path("sys/kernel/iommu_groups"))
	for _, entry := range entries {
		// VFIO's mode without an IOMMU creates groups as well.
		if e.text("sys/kernel/iommu_groups", entry.Name(), "name") != "vfio-noiommu" {
			groups++
		}
	}
	if groups > 0 {
		c.Found = fmt.Sprintf("on (%s), %s", cmp.Or(strings.Join(short(iommus, 3), " "), "no IOMMU listed"), units.Plural(groups, "group"))
		return c
	}
	c.State = Failed
	c.Why = "VFIO opens a device only behind an IOMMU, which confines its DMA to mapped memory"
	c.Found, c.Fix = e.noIOMMU()
	return c
}

// noIOMMU explains why there is no IOMMU in use.
func (e examiner) noIOMMU() (found, fix string) {
	line := strings.Fields(e.text("proc/cmdline"))
	const grub = "\nadd it to GRUB_CMDLINE_LINUX in /etc/default/grub; sudo update-grub; sudo reboot"
	switch {
	case slices.Contains(line, "iommu=off") || slices.Contains(line, "intel_iommu=off") || slices.Contains(line, "amd_iommu=off"):
		return "disabled on the kernel command line",
			"remove iommu=off, intel_iommu=off and amd_iommu=off from /etc/default/grub\nsudo update-grub; sudo reboot"
	case e.exists("sys/firmware/acpi/tables/DMAR") && slices.Contains(line, "intel_iommu=on"):
		return "available (VT-d, ACPI table DMAR), not used by the kernel despite intel_iommu=on",
			"sudo dmesg | grep -i -e DMAR -e IOMMU    # shows the reason"
	case e.exists("sys/firmware/acpi/tables/DMAR"):
		return "available (VT-d, ACPI table DMAR), not used by the kernel",
			"boot the kernel with: intel_iommu=on iommu=pt" + grub
	case e.exists("sys/firmware/acpi/tables/IVRS"):
		return "available (AMD-Vi, ACPI table IVRS), not used by the kernel",
			"sudo dmesg | grep -i -e AMD-Vi -e IVRS    # shows the reason; no kernel parameter is needed"
	case strings.Contains(e.text("proc/cpuinfo"), "GenuineIntel"):
		return "off: not offered by the firmware",
			"enable VT-d in the firmware setup\nboot the kernel with: intel_iommu=on iommu=pt" + grub
	}
	return "off: not offered by the firmware",
		"enable the IOMMU (AMD-Vi, SMMU) in the firmware setup, or add one to the VM"
}

// short returns at most n elements, and the number of the others.
func short(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
}

// module checks for the module vfio-pci and lists the kernel's VFIO interfaces.
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
		c.Found = fmt.Sprintf("loaded (%s)", cmp.Or(strings.Join(forms, ", "), "no device nodes yet"))
	case contains(filepath.Join(modules, "modules.dep"), "/vfio-pci.ko") || contains(filepath.Join(modules, "modules.builtin"), "/vfio-pci.ko"):
		c.Found = "available, not loaded yet"
	case !e.exists("lib/modules"):
		c.State, c.Found = Unknown, "not loaded; no /lib/modules to search"
	default:
		c.State, c.Found = Failed, "no module vfio-pci for this kernel"
		c.Why = "vfio-pci is the kernel driver that gives programs access to a device"
		c.Fix = "install all modules of the kernel (Ubuntu: linux-modules-extra-$(uname -r); Debian: a kernel without cloud in its name)"
	}
	return c
}

// contains reports whether a file contains a text.
func contains(file, what string) bool {
	text, err := os.ReadFile(file)
	return err == nil && strings.Contains(string(text), what)
}

// group checks that the kernel uses no other function of the port's IOMMU group.
func (e examiner) group(p Port) Check {
	c := Check{Name: "IOMMU group", State: OK}
	if p.Group == pci.NoGroup {
		c.State, c.Found = Unknown, "none without an IOMMU"
		return c
	}
	var inUse, fixes []string
	for _, peer := range p.Peers {
		if !peer.inUse() {
			continue
		}
		inUse = append(inUse, peer.String())
		fix := fmt.Sprintf("echo %s | sudo tee /sys/bus/pci/devices/%[1]s/driver/unbind", peer.Address)
		if strings.HasPrefix(e.text("sys/bus/pci/devices", peer.Address, "class"), "0x02") {
			fix = e.spec.Bind(Binding{Address: peer.Address, Force: true})
		}
		fixes = append(fixes, fix)
	}
	switch {
	case len(inUse) > 0:
		c.State = Failed
		c.Found = fmt.Sprintf("%d, with functions in use by the kernel: %s", p.Group, strings.Join(inUse, ", "))
		c.Why = "the IOMMU does not isolate functions of one group from each other, so VFIO needs all of them"
		c.Fix = strings.Join(fixes, "\n")
	case len(p.Peers) == 0:
		c.Found = fmt.Sprintf("%d, no other functions", p.Group)
	default:
		c.Found = fmt.Sprintf("%d, with %s", p.Group, peerList(p.Peers))
	}
	return c
}

// driver checks that vfio-pci is bound to the port.
func (e examiner) driver(p Port) Check {
	c := Check{Name: "driver", State: OK, Found: "vfio-pci"}
	if p.FormerInterface != "" {
		c.Found += " (interface was " + p.FormerInterface + ")"
	}
	if p.Driver == "vfio-pci" {
		return c
	}
	c.State = Failed
	c.Why = "a program drives the port through vfio-pci, in place of the kernel's network driver"
	c.Fix = e.spec.Bind(Binding{Address: p.Address.String()})
	c.Found = cmp.Or(p.Driver, "none")
	if len(p.Interfaces) > 0 {
		c.Found += ", interface " + strings.Join(p.Interfaces, " ")
	} else if p.Driver != "" && !strings.Contains(p.Driver, "vfio") {
		c.Found += ", no interface in this network namespace"
	}
	if uses := e.uses(p); len(uses) > 0 {
		c.Found += ", in use: " + strings.Join(short(uses, 3), ", ")
		c.Why += "; binding it removes this configuration"
		c.Fix = e.spec.Bind(Binding{Address: p.Address.String(), Force: true}) + "    # or move the configuration to another port first"
	}
	return c
}

// nodeForms returns the sets of device nodes through which VFIO opens the port: its
// own node with /dev/iommu, and the group's node with the container.
func (e examiner) nodeForms(p Port) [][]string {
	forms := [][]string{{fmt.Sprintf("/dev/vfio/%d", p.Group), "/dev/vfio/vfio"}}
	cdevs, _ := filepath.Glob(e.path("sys/bus/pci/devices", p.Address.String(), "vfio-dev/vfio*/dev"))
	for _, cdev := range cdevs {
		own := []string{"/dev/vfio/devices/" + filepath.Base(filepath.Dir(cdev)), "/dev/iommu"}
		forms = slices.Insert(forms, 0, own)
	}
	return forms
}

// deviceNode checks that this user can open the port's device nodes.
func (e examiner) deviceNode(p Port) Check {
	c := Check{Name: "device node", State: OK}
	if !strings.Contains(p.Driver, "vfio") || p.Group == pci.NoGroup {
		c.State, c.Found = Unknown, "none until vfio-pci is bound"
		return c
	}
	forms := e.nodeForms(p)
	var denied, obstacles []string
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
				obstacles = append(obstacles, node+" in use")
			case errors.Is(err, fs.ErrPermission):
				denied = append(denied, fmt.Sprintf("%s (%s)", node, e.owner(node)))
			case errors.Is(err, fs.ErrNotExist):
				obstacles = append(obstacles, node+" missing")
			default:
				obstacles = append(obstacles, err.Error())
			}
		}
		if usable {
			c.Found = strings.Join(nodes, " and ") + " accessible"
			return c
		}
	}
	if len(denied) > 0 {
		obstacles = slices.Insert(obstacles, 0, fmt.Sprintf("no access for %s: %s", e.user(), strings.Join(denied, ", ")))
	}
	c.State = Failed
	c.Found = strings.Join(obstacles, "; ")
	c.Why = "a program opens the port by its device node; only root may, unless the owner is changed"
	c.Fix = e.spec.Bind(Binding{Address: p.Address.String()})
	if busy {
		c.Why = "only one program at a time can open a port"
		c.Fix = fmt.Sprintf("sudo fuser -v %s    # shows the program", forms[len(forms)-1][0])
	}
	return c
}

// user returns the name of the effective user.
func (e examiner) user() string {
	id := e.status("Uid")
	if len(id) < 2 {
		return "this user"
	}
	return userName(id[1]) // real, effective, ...
}

// status returns the words of a line of /proc/self/status.
func (e examiner) status(key string) []string {
	for line := range strings.Lines(e.text("proc/self/status")) {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			return strings.Fields(v)
		}
	}
	return nil
}

// owner returns the owner and the mode of a device node.
func (e examiner) owner(node string) string {
	st, err := os.Stat(e.path(node))
	if err != nil {
		return "owner unknown"
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

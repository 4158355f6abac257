package vfio

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci"
)

func init() {
	pci.RegisterKernel(func(name string, f pci.Function) (pci.Device, error) { return machine.open(name, formAuto, f) })
	pci.Register("vfio-group", opener(formGroup))
	pci.Register("vfio-iommufd", opener(formIOMMUFD))
	for _, scheme := range []string{"vfio-group", "vfio-iommufd"} {
		pci.RegisterCheck(scheme, func(rest string) error {
			_, err := pci.Resolve(rest)
			return err
		})
	}
}

// form is an interface of the kernel to a function.
type form int

const (
	formAuto form = iota
	formGroup
	formIOMMUFD
)

func (f form) String() string { return [...]string{"vfio", "vfio-group", "vfio-iommufd"}[f] }

// opener returns the opener of a form's scheme.
func opener(form form) pci.Opener {
	return func(rest string) (pci.Device, error) {
		name := form.String() + ":" + rest
		f, err := pci.Resolve(rest)
		if err != nil {
			return nil, fmt.Errorf("open device %s: %w", name, err)
		}
		return machine.open(name, form, f)
	}
}

// host is a machine: its kernel, files and address spaces in use.
type host struct {
	k         kernel
	sys, dev  string // where sysfs and the device nodes are mounted
	proc      string
	limits    limits
	memlock   func() (limit, locked uint64)
	reachable func(node string) bool // this process may open the node

	mu     sync.Mutex
	spaces map[spaceKey]*space // in use; shared, because a group has one opener
}

var machine = &host{
	k: linux{}, sys: pci.Sysfs, dev: "/dev", proc: "/proc", limits: defaultLimits,
	memlock: readMemlock, reachable: reachable, spaces: map[spaceKey]*space{},
}

func reachable(node string) bool {
	return unix.Faccessat(unix.AT_FDCWD, node, unix.R_OK|unix.W_OK, unix.AT_EACCESS) == nil
}

// open opens a function; the name is for messages, which leave its token out.
func (h *host) open(name string, form form, f pci.Function) (pci.Device, error) {
	if without, _, err := pci.CutVFToken(name); err == nil {
		name = without
	}
	d, err := h.openDevice(name, form, f)
	if err != nil {
		return nil, fmt.Errorf("open device %s: %s: %w", name, f, err)
	}
	return d, nil
}

// selectForm selects the form: that in which the group is open, else iommufd if this
// process can open the function's node and /dev/iommu, else group. A token is passed by the
// group, if possible.
func (h *host) selectForm(f pci.Function) form {
	h.mu.Lock()
	for _, form := range []form{formGroup, formIOMMUFD} {
		if h.spaces[spaceKey{form, f.Group}] != nil {
			h.mu.Unlock()
			return form
		}
	}
	h.mu.Unlock()
	if f.VFToken != nil && h.reachable(h.groupNode(f.Group)) {
		return formGroup // that of iommufd is newer
	}
	node := h.deviceNode(f)
	if node != "" && h.reachable(node) && h.reachable(h.iommuNode()) {
		return formIOMMUFD
	}
	return formGroup
}

func (h *host) openDevice(name string, form form, f pci.Function) (_ *Device, err error) {
	if err := h.checkFunction(f); err != nil {
		return nil, err
	}
	if form == formAuto {
		form = h.selectForm(f)
	}
	space, file, err := h.attach(form, f)
	if err != nil {
		return nil, err
	}
	d := &Device{
		h: h, name: name, function: f, form: form, space: space, file: file,
		done: make(chan struct{}), released: make(chan struct{}),
	}
	d.dma = mapper{d: d, maps: map[iova]uint64{}}
	if err := d.prepare(); err != nil {
		d.fail(err)
		return nil, errors.Join(err, d.waitReleased())
	}
	return d, nil
}

// prepare reads the device's constant properties and enables memory decoding and bus
// mastering.
func (d *Device) prepare() error {
	b := words(deviceInfoSize, 0, 0, 0)
	if _, err := d.file.ioctl(d.h.limits.quick, deviceGetInfo, b); err != nil {
		return err
	}
	info := parseDeviceInfo(b)
	if info.flags&deviceFlagPCI == 0 {
		return fmt.Errorf("%v: not a PCI function", deviceGetInfo)
	}
	if info.regions <= configRegion {
		return fmt.Errorf("%v: %d regions, no configuration space", deviceGetInfo, info.regions)
	}
	d.canReset = info.flags&deviceFlagReset != 0
	if err := d.findVectors(info.irqs); err != nil {
		return err
	}
	if err := d.findConfig(); err != nil {
		return err
	}
	// Before the first access to a BAR, which raises SIGBUS without memory
	// decoding. Bus mastering has no effect yet: no memory is mapped.
	if err := d.command(commandMemory|commandMaster, 0); err != nil {
		return err
	}
	if err := d.findBARs(); err != nil {
		return err
	}
	return d.watch()
}

package pci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// KernelOpener opens a function of this machine. The name is as the user wrote
// it, for messages.
type KernelOpener func(name string, f Function) (Device, error)

// kernelOpener is guarded by schemesMu.
var kernelOpener KernelOpener

// RegisterKernel makes Open understand addresses and interface names, by the
// transport that calls it. It panics when there is one already.
func RegisterKernel(open KernelOpener) {
	schemesMu.Lock()
	defer schemesMu.Unlock()
	if kernelOpener != nil {
		panic("pci: kernel transport registered twice")
	}
	kernelOpener = open
}

// BindRecords is where examples/vfio-bind notes what it took from whom: a file
// per function, named by its address, with lines such as driver=ixgbe and
// interface=eth2.
const BindRecords = "/run/ixcap/vfio-bind"

// Resolve finds the function that a name stands for: its address, the name of
// its network interface, or the name its interface had before vfio-bind took the
// function from the kernel's driver.
func Resolve(name string) (Function, error) {
	return resolver{Sysfs, BindRecords, findLink}.resolve(name)
}

// resolver is where to look for functions.
type resolver struct {
	sysfs, records string
	find           linkFinder
}

func (r resolver) resolve(name string) (Function, error) {
	a, err := ParseAddress(name)
	if err != nil {
		if addressLike(name) {
			return Function{}, err
		}
		if a, err = byInterface(r.sysfs, name, r.find); errors.Is(err, ErrNoInterface) {
			if bound, ok := r.formerly(name); ok {
				a, err = bound, nil
			}
		}
		if err != nil {
			return Function{}, err
		}
	}
	return Lookup(r.sysfs, a)
}

// formerly is the function whose interface had that name. A record of a function
// that has left, or that has a kernel driver again, is not believed.
func (r resolver) formerly(name string) (Address, bool) {
	records, err := os.ReadDir(r.records)
	if err != nil || name == "" {
		return Address{}, false
	}
	for _, e := range records {
		a, err := ParseAddress(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(r.records, e.Name()))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			if key != "interface" || value != name {
				continue
			}
			driver, err := linkBase(filepath.Join(r.sysfs, "bus/pci/devices", a.String(), "driver"))
			if err == nil && strings.Contains(driver, "vfio") {
				return a, true
			}
		}
	}
	return Address{}, false
}

// openFunction opens a function of this machine by its address or by the name
// of its network interface.
func openFunction(r resolver, name string) (Device, error) {
	f, err := r.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, err)
	}
	schemesMu.RLock()
	open := kernelOpener
	schemesMu.RUnlock()
	if open == nil {
		return nil, fmt.Errorf("open device %s: %s: %w", name, f, errNoKernel)
	}
	return open(name, f)
}

// errNoKernel is errors.ErrUnsupported.
var errNoKernel error = noKernel{}

type noKernel struct{}

func (noKernel) Error() string {
	return "this program has no transport for the kernel's functions: import pci/vfio, or name a model (sim:...) or a server (vfio-user:PATH)"
}
func (noKernel) Is(target error) bool { return target == errors.ErrUnsupported }

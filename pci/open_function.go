package pci

import (
	"errors"
	"fmt"
)

// KernelOpener opens a function of this machine. The name is the user's, for
// messages.
type KernelOpener func(name string, f Function) (Device, error)

// kernelOpener is guarded by schemesMu.
var kernelOpener KernelOpener

// RegisterKernel registers the transport that opens addresses and interface names. It
// panics if one is registered.
func RegisterKernel(open KernelOpener) {
	schemesMu.Lock()
	defer schemesMu.Unlock()
	if kernelOpener != nil {
		panic("pci: kernel transport registered twice")
	}
	kernelOpener = open
}

// openFunction opens a function of this machine by address or interface name.
func openFunction(r Resolver, name string) (Device, error) {
	f, err := r.Resolve(name)
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

// errNoKernel matches errors.ErrUnsupported.
var errNoKernel error = noKernel{}

type noKernel struct{}

func (noKernel) Error() string {
	return "this program has no transport for PCI functions of this machine. Import pci/vfio, or use sim:... or vfio-user:PATH"
}
func (noKernel) Is(target error) bool { return target == errors.ErrUnsupported }

package pci

import (
	"errors"
	"fmt"
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

// openFunction opens a function of this machine by its address or by the name
// of its network interface.
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

// errNoKernel is errors.ErrUnsupported.
var errNoKernel error = noKernel{}

type noKernel struct{}

func (noKernel) Error() string {
	return "this program has no transport for the kernel's functions: import pci/vfio, or name a model (sim:...) or a server (vfio-user:PATH)"
}
func (noKernel) Is(target error) bool { return target == errors.ErrUnsupported }

package pci

import (
	"errors"
	"fmt"
)

// openFunction opens a function of this machine by its address or by the name
// of its network interface.
//
// That takes the kernel's VFIO, which this version does not speak, so it always
// fails: with what is known about the function, so that the user sees that the
// right one was named and what stands in its way.
func openFunction(root, name string, find linkFinder) (Device, error) {
	a, err := ParseAddress(name)
	if err != nil {
		if a, err = byInterface(root, name, find); err != nil {
			return nil, fmt.Errorf("open device: %w", err)
		}
	}
	f, err := Lookup(root, a)
	if err != nil {
		return nil, fmt.Errorf("open device %s: %w", name, err)
	}
	return nil, fmt.Errorf("open device %s: %s: the kernel VFIO transport is %w; open a model (sim:...) or a server (vfio-user:PATH) instead",
		name, f, errNoVFIO)
}

// errNoVFIO reads as the end of a sentence and is errors.ErrUnsupported.
var errNoVFIO error = noVFIO{}

type noVFIO struct{}

func (noVFIO) Error() string        { return "not part of this version" }
func (noVFIO) Is(target error) bool { return target == errors.ErrUnsupported }

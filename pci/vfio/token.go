package vfio

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/ixcap/ixcap/pci"
)

// explainToken adds to the kernel's refusal to open a function what is wrong with its token
// (vfio_pci_validate_vf_token).
func explainToken(f pci.Function, err error) error {
	switch {
	case errors.Is(err, syscall.EACCES) && f.VFToken == nil:
		return fmt.Errorf("%w: physical and virtual functions that vfio-pci has share a token: name the function %s,vf_token=UUID, with the UUID of who opened the physical function", err, f.Address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: vf_token is not that of the physical function, which the first who opened it has set", err)
	case errors.Is(err, syscall.EINVAL) && f.VFToken != nil:
		return fmt.Errorf("%w: leave vf_token out: the function has no virtual functions, or its physical function is not bound to vfio-pci; or name it vfio-group:%s, if the kernel takes a token only there", err, f.Address)
	}
	return err
}

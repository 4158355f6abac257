package nic

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
)

// CheckName returns why Open cannot open the device of a name, as far as that can be
// found out without opening it.
func CheckName(name string) error {
	return cmp.Or(checkFamily(name, pci.Host()), pci.CheckName(name))
}

// checkFamily returns an error if a name is that of a function or an interface of this
// machine that the driver does not support. Open of it would fail too, but with an error
// about the IOMMU or vfio-pci. Other names, and those that do not resolve, are left to
// pci.Open.
func checkFamily(name string, r pci.Resolver) error {
	function := name
	for _, scheme := range []string{"vfio-group:", "vfio-iommufd:"} {
		function = strings.TrimPrefix(function, scheme)
	}
	if !pci.Kernel(function) {
		return nil
	}
	f, err := r.Resolve(function)
	if errors.Is(err, pci.ErrNotPCI) {
		return fmt.Errorf("%w. %s", err, instead(function))
	}
	if err != nil {
		return nil
	}
	if _, ok := driver.Supports(f.ID); ok {
		return nil
	}
	what := fmt.Sprintf("%s [%s], %s", pci.Chip("/", f.ID), f.ID, cmp.Or(f.Driver, "no driver"))
	return fmt.Errorf("not a port of an Intel 82599 (%s). %s", what, instead(f.Interfaces...))
}

// instead is what a user with such interfaces can do: package ports captures from any
// interface.
func instead(interfaces ...string) string {
	const other = "Name the interface or the PCI address of an 82599"
	if len(interfaces) == 0 {
		return other
	}
	return fmt.Sprintf("%s, or capture this interface with sockets of the kernel: xdp:%s or packet:%s", other, interfaces[0], interfaces[0])
}

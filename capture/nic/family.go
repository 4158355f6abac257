package nic

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
)

// checkFamily returns an error if a name is that of a function of this machine that the
// driver does not support. Open of it would fail too, but with an error about the IOMMU
// or vfio-pci. Other names, and those that do not resolve, are left to pci.Open.
func checkFamily(name string, r pci.Resolver) error {
	function := name
	for _, scheme := range []string{"vfio-group:", "vfio-iommufd:"} {
		function = strings.TrimPrefix(function, scheme)
	}
	if !pci.Kernel(function) {
		return nil
	}
	f, err := r.Resolve(function)
	if err != nil {
		return nil
	}
	if _, ok := driver.Supports(f.ID); ok {
		return nil
	}
	return fmt.Errorf("%s: not a port of an Intel 82599 (%s, %s). Name the interface or the PCI address of one",
		name, f.ID, cmp.Or(f.Driver, "no driver"))
}

package pci

import (
	"cmp"
	"fmt"
	"strings"
)

// Checker returns what is wrong with what follows "scheme:" in a device's name,
// without opening the device.
type Checker func(rest string) error

var checkers = map[string]Checker{} // guarded by schemesMu

// RegisterCheck sets how CheckName examines the names of a scheme. It panics when the
// scheme has a Checker.
func RegisterCheck(scheme string, check Checker) {
	schemesMu.Lock()
	defer schemesMu.Unlock()
	if _, taken := checkers[scheme]; taken {
		panic("pci: check of scheme " + scheme + " registered twice")
	}
	checkers[scheme] = check
}

// CheckName returns why Open cannot open the device of a name, as far as that can be
// found out without opening it. Names of a scheme without a Checker pass.
func CheckName(name string) error {
	scheme, rest, found := strings.Cut(name, ":")
	schemesMu.RLock()
	_, known := schemes[scheme]
	check := checkers[scheme]
	schemesMu.RUnlock()
	switch {
	case found && known && check != nil:
		return check(rest)
	case found && known:
		return nil
	case Kernel(name):
		_, err := Resolve(name)
		return err
	}
	return errNoScheme()
}

// HasScheme reports whether this program can open devices of a scheme, such as "sim".
func HasScheme(scheme string) bool {
	schemesMu.RLock()
	defer schemesMu.RUnlock()
	return schemes[scheme] != nil
}

// Kernel reports whether a name means a function of this machine, by its address
// or by its interface's name, rather than a device of a scheme.
func Kernel(name string) bool {
	name, _, _ = strings.Cut(name, tokenOption)
	_, err := ParseAddress(name)
	return err == nil || name != "" && !strings.Contains(name, ":") || addressLike(name)
}

// errNoScheme is the error of a name that is neither a function nor of a scheme
// of this program.
func errNoScheme() error {
	return fmt.Errorf("want a PCI address (0000:03:00.0), an interface name, or a scheme of this program (%s)",
		cmp.Or(strings.Join(known(), " "), "none: import a transport, such as pci/vfiouser"))
}

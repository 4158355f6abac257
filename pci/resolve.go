package pci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// BindRecords is the folder in which examples/vfio-bind records the functions that
// it bound to vfio-pci: a file per function, named by its address, with lines such
// as driver=ixgbe and interface=eth2.
const BindRecords = "/run/ixcap/vfio-bind"

// Resolver finds the function that a name stands for.
type Resolver struct {
	Sysfs    string                          // where sysfs is mounted
	Records  string                          // where vfio-bind's records are, see BindRecords
	FindLink func(name string) (Link, error) // the error wraps ErrNoInterface if there is none
}

// Host returns the resolver of this machine.
func Host() Resolver { return Resolver{Sysfs, BindRecords, FindLink} }

// Resolve finds a function of this machine, see Resolver.Resolve.
func Resolve(name string) (Function, error) { return Host().Resolve(name) }

// Resolve finds the function with an address, with a network interface, or whose
// interface had that name before vfio-bind bound the function to vfio-pci. The
// error wraps ErrNoInterface or ErrNoFunction if there is none, and ErrNotPCI for an
// interface without one. A token behind the name (CutVFToken) is that of the function.
func (r Resolver) Resolve(name string) (Function, error) {
	name, token, err := CutVFToken(name)
	if err != nil {
		return Function{}, err
	}
	f, err := r.resolve(name)
	f.VFToken = token
	return f, err
}

func (r Resolver) resolve(name string) (Function, error) {
	a, err := ParseAddress(name)
	if err != nil {
		if addressLike(name) {
			return Function{}, err
		}
		if a, err = r.byInterface(name); errors.Is(err, ErrNoInterface) {
			if bound, ok := r.byFormerInterface(name); ok {
				a, err = bound, nil
			}
		}
		if err != nil {
			return Function{}, err
		}
	}
	return Lookup(r.Sysfs, a)
}

// FormerInterface returns the name of the interface that a function had before
// vfio-bind bound it, "" if there is no record of one.
func (r Resolver) FormerInterface(a Address) string {
	text, err := os.ReadFile(filepath.Join(r.Records, a.String()))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key == "interface" {
			return value
		}
	}
	return ""
}

// byFormerInterface finds the function whose interface had a name before vfio-bind
// bound it. A record of a function that was unplugged, or that has a kernel driver
// again, is ignored.
func (r Resolver) byFormerInterface(name string) (Address, bool) {
	records, err := os.ReadDir(r.Records)
	if err != nil || name == "" {
		return Address{}, false
	}
	for _, e := range records {
		a, err := ParseAddress(e.Name())
		if err != nil || r.FormerInterface(a) != name {
			continue
		}
		driver, err := linkBase(filepath.Join(r.Sysfs, "bus/pci/devices", a.String(), "driver"))
		if err == nil && strings.Contains(driver, "vfio") {
			return a, true
		}
	}
	return Address{}, false
}

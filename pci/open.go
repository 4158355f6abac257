package pci

// A device is named by one string everywhere:
//
//	0000:03:00.0               a function by its address (kernel VFIO)
//	eth2                       a function by its interface name (kernel VFIO)
//	vfio-group:ADDR            the same, by group and container (ADDR: address or interface name)
//	vfio-iommufd:ADDR          the same, by its own device node and iommufd
//	vfio-user:/run/nic.sock    a vfio-user server
//	sim:pcap=FILE,rate=line    the software 82599, when package sim is imported
//
// Transports register the schemes, as database drivers do with database/sql.

import (
	"fmt"
	"sort"
	"strings"
	"sync"
)

// Opener opens what follows "scheme:" in a device's name.
type Opener func(rest string) (Device, error)

var (
	schemesMu sync.RWMutex
	schemes   = map[string]Opener{}
)

// Register makes a scheme known to Open. It panics when the scheme is taken:
// two transports of one name are a mistake in the program.
func Register(scheme string, open Opener) {
	schemesMu.Lock()
	defer schemesMu.Unlock()
	if _, taken := schemes[scheme]; taken {
		panic("pci: scheme " + scheme + " registered twice")
	}
	schemes[scheme] = open
}

// Open opens the device with the given name.
func Open(name string) (Device, error) { return open(name, Host()) }

func open(name string, r Resolver) (Device, error) {
	scheme, rest, found := strings.Cut(name, ":")
	schemesMu.RLock()
	opener := schemes[scheme]
	schemesMu.RUnlock()
	if found && opener != nil {
		return opener(rest)
	}
	if _, err := ParseAddress(name); err == nil || !found && name != "" {
		return openFunction(r, name) // an interface's name has no colon
	} else if addressLike(name) {
		return nil, fmt.Errorf("open device: %w", err)
	}
	return nil, fmt.Errorf("open device %q: %w", name, errNoScheme())
}

// addressLike tells that a name can only be meant as an address.
func addressLike(name string) bool {
	const digits = "0123456789abcdefABCDEF"
	return strings.ContainsAny(name, digits) && strings.Trim(name, digits+":.") == ""
}

func known() []string {
	schemesMu.RLock()
	defer schemesMu.RUnlock()
	names := make([]string, 0, len(schemes))
	for s := range schemes {
		names = append(names, s+":")
	}
	sort.Strings(names)
	return names
}

// Ender is implemented by devices whose wire can come to an end: the model
// replaying a file. A real port has no such thing.
type Ender interface {
	// Ended is closed when the wire has carried its last frame and the device
	// has either written it to memory or counted it as lost.
	Ended() <-chan struct{}
}

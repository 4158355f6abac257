package doctor

import (
	"time"

	"github.com/ixcap/ixcap/pci"
)

// Spec describes what to examine.
type Spec struct {
	// Device is the address or the interface of a port. "" selects the first port
	// bound to vfio-pci, else the first that carries no traffic.
	Device string
	Family Family
	Needs  Needs
	// Service is the systemd unit of the capture, "" for none.
	Service string
	// Bind returns the command that binds a function to vfio-pci, for fixes.
	Bind func(Binding) string
}

// Family describes a kind of port.
type Family struct {
	Name  string                               // such as "Intel 82599"
	Match func(pci.ID) (model string, ok bool) // reports whether a function is such a port
	None  Check                                // the result if the machine has no such port
	// Instead says what to do with a port of another kind.
	Instead string
	Bus     Bus // what the slot must provide
	// Holds is how long receive ring and packet buffer hold minimum-size frames at
	// line rate: a longer poll gap loses frames.
	Holds time.Duration
}

// Bus is the bandwidth that a port needs of its slot, and what the check says if
// the slot has less.
type Bus struct {
	Gbps     float64 // after line encoding
	Why, Fix string
}

// Needs is what a capture needs of the machine: either Pages2M, or Pages1G and
// Small2M.
type Needs struct {
	Pages2M int   // huge pages of 2 MiB
	Pages1G int   // huge pages of 1 GiB
	Small2M int   // huge pages of 2 MiB in addition to Pages1G
	Lock2M  int64 // bytes mapped for DMA, with pages of 2 MiB
	Lock1G  int64 // bytes mapped for DMA, with pages of 1 GiB
	Cores   int   // polling threads
}

// Binding describes a call of the program that binds functions to vfio-pci.
type Binding struct {
	Address   string
	Force     bool // also if the interface is in use
	HugePages int  // pages of 2 MiB to reserve, 0 for none
	Node      int  // NUMA node of HugePages, -1 for any
}

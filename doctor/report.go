package doctor

import (
	"strings"

	"github.com/ixcap/ixcap/pci"
)

// State is the result of a check.
type State string

// States, from good to bad. A capture runs with warnings, but may lose frames.
const (
	OK      State = "ok"
	Unknown State = "unknown" // not known yet, or not readable by this user
	Warning State = "warning"
	Failed  State = "failed"
)

// Check is one check and its result.
type Check struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Found string `json:"found"`         // the finding
	Why   string `json:"why,omitempty"` // why it matters; empty if the state is OK
	Fix   string `json:"fix,omitempty"` // the commands that correct it, one per line
}

// Port is a port of the family, in its present state.
type Port struct {
	pci.Function
	Model           string      // such as "82599ES SFP+"
	FormerInterface string      // its interface before vfio-pci was bound, "" for none
	Links           []LinkState // of Interfaces, in the same order
	Peers           []GroupPeer // the other functions of its IOMMU group
}

// LinkState is the link of a network interface, from sysfs.
type LinkState struct {
	Interface string `json:"name"`
	Up        bool   `json:"up"` // administratively up
	Carrier   bool   `json:"carrier"`
	Mbps      int    `json:"speed_mbps"` // 0: not known
}

// GroupPeer is another function of an IOMMU group.
type GroupPeer struct {
	Address string `json:"address"`
	Driver  string `json:"driver"` // "" for none
}

// inUse reports whether a kernel driver uses the function, which keeps VFIO from
// opening the group. Bridges stay with the kernel in any group.
func (p GroupPeer) inUse() bool {
	switch p.Driver {
	case "", "pci-stub", "pcieport":
		return false
	}
	return !strings.Contains(p.Driver, "vfio")
}

// Report is the result of Examine.
type Report struct {
	Ports  []Port // all ports of the family
	Device string // the port that was examined: its address, or a name as packet:eth0; "" for none
	Checks []Check

	// Pages1G is set if there are enough huge pages of 1 GiB and not of 2 MiB.
	Pages1G bool
	// Cores are the isolated cores of the port's NUMA node.
	Cores []int
}

// Ready reports whether a capture can run: no check has failed.
func (r Report) Ready() bool {
	for _, c := range r.Checks {
		if c.State == Failed {
			return false
		}
	}
	return true
}

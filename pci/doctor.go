package pci

// The doctor says whether this machine can capture with one of its ports, and
// if not, why not and which command mends it. It changes nothing.
//
//	/sys /proc /dev /lib/modules, netlink ──> Examine ──> Report
//	                                                       Ports: what there is
//	                                                       Checks: found, why it matters, fix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ixcap/ixcap/capture/sched/topology"
)

// State is what became of a check.
type State string

// States, from good to bad. A capture runs with warnings, but may lose frames
// that it could have kept.
const (
	OK      State = "ok"
	Unknown State = "unknown" // it cannot be told yet, or not by this user
	Warning State = "warning"
	Failed  State = "failed"
)

// Check is one thing that was examined.
type Check struct {
	Name  string
	State State
	Found string // what is so
	Why   string `json:",omitempty"` // why that matters; empty when the state is OK
	Fix   string `json:",omitempty"` // commands that mend it, one per line
}

// PortReport is a port of the kind that was looked for, as it is now.
type PortReport struct {
	Function
	Model string      // such as "82599ES SFP+"
	Was   string      // the interface it had before vfio-bind took it, "" for none
	Links []LinkState // of Interfaces, in the same order
	Peers []GroupPeer // other functions of its IOMMU group
}

// LinkState is a network interface's link as the kernel sees it.
type LinkState struct {
	Interface string
	Up        bool // switched on by the administrator
	Carrier   bool // a partner is there
	Mbps      int  // 0: not known
}

// GroupPeer is another function of an IOMMU group.
type GroupPeer struct {
	Address string
	Driver  string // "" for none
}

// culprit tells that the kernel uses the function, so that the group cannot be
// handed over. Bridges are the kernel's in any group.
func (p GroupPeer) culprit() bool {
	switch p.Driver {
	case "", "pci-stub", "pcieport":
		return false
	}
	return !strings.Contains(p.Driver, "vfio")
}

// Report is what Examine found.
type Report struct {
	Ports  []PortReport
	Device string // address of the port that the checks are about, "" for none
	Checks []Check

	// Pages1G tells that huge pages of 1 GiB suffice and those of 2 MiB do not.
	Pages1G bool
	// Cores are the cores of the port's node that the kernel keeps free for it.
	Cores []int
}

// Ready tells whether a capture can run: no check has failed.
func (r Report) Ready() bool {
	for _, c := range r.Checks {
		if c.State == Failed {
			return false
		}
	}
	return true
}

// Needs is what a capture takes of the machine.
type Needs struct {
	Pages2M int   // huge pages of 2 MiB, or
	Pages1G int   // huge pages of 1 GiB, and then
	Small2M int   // so many of 2 MiB as well
	Lock2M  int64 // bytes mapped for the device's DMA, with pages of 2 MiB
	Lock1G  int64 // and of 1 GiB
	Cores   int   // threads that never sleep
}

// Subject says what to examine.
type Subject struct {
	// Device is a port's address or interface; "" takes the first port that a
	// program can have without taking it from somebody else.
	Device string
	// Family tells which functions are ports of the kind looked for, and a
	// model's name.
	Family func(ID) (model string, ok bool)
	Needs  Needs
}

// Examine looks at this machine. An error means that Device names nothing, or
// not a port of the kind looked for; everything else is in the report.
func Examine(s Subject) (Report, error) { return host().examine(s) }

// examiner is a machine to be examined: files below a root folder, and what
// only the kernel can tell.
type examiner struct {
	root    string
	find    linkFinder
	carries func(iface string) ([]string, error) // what would be lost with an interface
	try     func(path string) error              // opens for reading and writing, and closes
}

func host() examiner {
	return examiner{root: "/", find: findLink, carries: carries, try: tryOpen}
}

func (e examiner) path(elem ...string) string {
	return filepath.Join(append([]string{e.root}, elem...)...)
}

// text is a file's content without the space around it, "" for none.
func (e examiner) text(elem ...string) string {
	text, err := os.ReadFile(e.path(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (e examiner) exists(elem ...string) bool {
	_, err := os.Stat(e.path(elem...))
	return err == nil
}

func (e examiner) examine(s Subject) (Report, error) {
	var r Report
	var err error
	if r.Ports, err = e.ports(s.Family); err != nil {
		return r, err
	}
	port, err := e.choose(s, r.Ports)
	if err != nil {
		return r, err
	}
	add := func(c Check) { r.Checks = append(r.Checks, c) }
	if port == nil {
		add(Check{"device", Failed, "this machine has no port of the 82599",
			"captures over the bus need one; without, the software 82599 stands in for it", "hpcapdd -device sim:gen,size=60,rate=1Mpps -dir null -duration 10s"})
	} else {
		r.Device = port.Address.String()
	}
	add(e.kernel())
	add(e.iommu())
	add(e.module())
	if port != nil {
		add(e.group(*port))
		add(e.bound(*port))
		add(e.node(*port))
		if c, ok := e.pcie(*port); ok {
			add(c)
		}
	}
	node := -1
	if port != nil {
		node = port.NUMANode
	}
	pages, gigantic := e.hugePages(s.Needs, port, node)
	add(pages)
	r.Pages1G = gigantic
	add(e.memlock(s.Needs, gigantic))
	machine, rt := topology.Read(e.root), topology.ReadRealTime(e.root)
	cores, free := e.cores(s.Needs, machine, node)
	add(cores)
	r.Cores = free
	add(e.pollers(s.Needs, machine, node))
	isolated := len(free) >= s.Needs.Cores
	add(e.realTime(rt, isolated))
	add(e.throttling(rt, isolated))
	add(e.tsc())
	add(e.governor(machine, node))
	return r, nil
}

// ports lists the functions of a family.
func (e examiner) ports(family func(ID) (string, bool)) ([]PortReport, error) {
	functions, err := Find(e.path("sys"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a machine without PCI has no ports
		return nil, err
	}
	ports := []PortReport{}
	for _, f := range functions {
		model, ok := family(f.ID)
		if !ok {
			continue
		}
		p := PortReport{Function: f, Model: model}
		if len(f.Interfaces) == 0 && strings.Contains(f.Driver, "vfio") {
			p.Was = e.recorded(f.Address, "interface")
		}
		for _, name := range f.Interfaces {
			p.Links = append(p.Links, e.link(name))
		}
		for _, peer := range f.GroupPeers {
			driver, _ := linkBase(e.path("sys/bus/pci/devices", peer, "driver"))
			p.Peers = append(p.Peers, GroupPeer{peer, driver})
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// recorded is what vfio-bind noted about a function, "" for nothing.
func (e examiner) recorded(a Address, key string) string {
	for line := range strings.Lines(e.text(BindRecords, a.String())) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == key {
			return v
		}
	}
	return ""
}

// link reads what sysfs says about an interface. An interface that is switched
// off has neither carrier nor speed: reading them is an error.
func (e examiner) link(name string) LinkState {
	dir := filepath.Join("sys/class/net", name)
	l := LinkState{Interface: name, Carrier: e.text(dir, "carrier") == "1"}
	var flags uint64
	_, _ = fmt.Sscanf(e.text(dir, "flags"), "0x%x", &flags)
	const up = 1 // IFF_UP
	l.Up = flags&up != 0
	if _, err := fmt.Sscan(e.text(dir, "speed"), &l.Mbps); err != nil || l.Mbps < 0 {
		l.Mbps = 0
	}
	return l
}

// choose is the port that the checks are about, nil for none.
func (e examiner) choose(s Subject, ports []PortReport) (*PortReport, error) {
	if s.Device != "" {
		name := s.Device
		for _, scheme := range []string{"vfio-group:", "vfio-iommufd:"} {
			name = strings.TrimPrefix(name, scheme)
		}
		f, err := resolver{e.path("sys"), e.path(BindRecords), e.find}.resolve(name)
		if err != nil {
			return nil, err
		}
		for i := range ports {
			if ports[i].Address == f.Address {
				return &ports[i], nil
			}
		}
		return nil, fmt.Errorf("%s is not a port of an 82599", f)
	}
	// Best is a port that vfio-pci has already, then one that nobody uses.
	best, rank := -1, 0
	for i, p := range ports {
		now := 1
		switch {
		case strings.Contains(p.Driver, "vfio"):
			now = 3
		case len(e.used(p)) == 0:
			now = 2
		}
		if now > rank {
			best, rank = i, now
		}
	}
	if best < 0 {
		return nil, nil
	}
	return &ports[best], nil
}

// used is what would be lost with a port's interfaces.
func (e examiner) used(p PortReport) []string {
	var all []string
	for _, name := range p.Interfaces {
		what, err := e.carries(name)
		if err == nil {
			all = append(all, what...)
		}
	}
	return all
}

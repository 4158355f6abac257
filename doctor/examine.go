package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/pci"
)

// Examine examines this machine. The error says that Device names no port of the
// family; everything else is in the report.
func Examine(s Spec) (Report, error) {
	e := examiner{root: "/", findLink: pci.FindLink, carries: carries, open: openNode}
	return e.examine(s)
}

// examiner reads a machine: files below a root folder, and the kernel's answers to
// calls.
type examiner struct {
	root     string
	findLink func(name string) (pci.Link, error)
	carries  func(iface string) ([]string, error) // addresses, routes and the like
	open     func(path string) error              // opens for reading and writing, and closes

	spec Spec
}

func (e examiner) resolver() pci.Resolver {
	return pci.Resolver{Sysfs: e.path("sys"), Records: e.path(pci.BindRecords), FindLink: e.findLink}
}

func (e examiner) path(elem ...string) string {
	return filepath.Join(append([]string{e.root}, elem...)...)
}

// text returns a file's content without surrounding space, "" if it cannot be read.
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

func (e examiner) examine(s Spec) (Report, error) {
	e.spec = s
	var r Report
	var err error
	if r.Ports, err = e.ports(); err != nil {
		return r, err
	}
	port, err := e.selectPort(r.Ports)
	if err != nil {
		return r, err
	}
	add := func(c Check) { r.Checks = append(r.Checks, c) }
	if port == nil {
		add(s.Family.None)
	} else {
		r.Device = port.Address.String()
	}
	add(e.kernel())
	add(e.iommu())
	add(e.module())
	if port != nil {
		add(e.group(*port))
		add(e.driver(*port))
		add(e.deviceNode(*port))
		if c, ok := e.slot(*port); ok {
			add(c)
		}
	}
	node := -1
	if port != nil {
		node = port.NUMANode
	}
	pages, gigantic := e.hugePages(port, node)
	add(pages)
	r.Pages1G = gigantic
	add(e.memlock(gigantic))
	machine, rt := topology.Read(e.root), topology.ReadRealTime(e.root)
	cores, free := e.cores(machine, node)
	add(cores)
	r.Cores = free
	add(e.pollers(machine, node))
	isolated := len(free) >= s.Needs.Cores
	add(e.realTime(rt, isolated))
	add(e.throttling(rt, isolated))
	add(e.quota())
	add(e.tsc())
	add(e.governor(machine, node))
	return r, nil
}

// ports lists the ports of the family.
func (e examiner) ports() ([]Port, error) {
	functions, err := pci.Find(e.path("sys"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a machine without PCI has no ports
		return nil, err
	}
	ports := []Port{}
	for _, f := range functions {
		model, ok := e.spec.Family.Match(f.ID)
		if !ok {
			continue
		}
		p := Port{Function: f, Model: model}
		if len(f.Interfaces) == 0 && strings.Contains(f.Driver, "vfio") {
			p.FormerInterface = e.resolver().FormerInterface(f.Address)
		}
		for _, name := range f.Interfaces {
			p.Links = append(p.Links, e.link(name))
		}
		for _, peer := range f.GroupPeers {
			driver := ""
			if target, err := os.Readlink(e.path("sys/bus/pci/devices", peer, "driver")); err == nil {
				driver = filepath.Base(target)
			}
			p.Peers = append(p.Peers, GroupPeer{peer, driver})
		}
		ports = append(ports, p)
	}
	return ports, nil
}

// link reads the link of an interface. Reading carrier or speed of an interface
// that is down is an error.
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

// selectPort returns the port to examine, nil for none.
func (e examiner) selectPort(ports []Port) (*Port, error) {
	if e.spec.Device != "" {
		return e.namedPort(ports)
	}
	best, rank := -1, 0
	for i, p := range ports {
		now := 1
		switch {
		case strings.Contains(p.Driver, "vfio"):
			now = 3
		case len(e.uses(p)) == 0:
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

func (e examiner) namedPort(ports []Port) (*Port, error) {
	name := e.spec.Device
	for _, scheme := range []string{"vfio-group:", "vfio-iommufd:"} {
		name = strings.TrimPrefix(name, scheme)
	}
	f, err := e.resolver().Resolve(name)
	if errors.Is(err, pci.ErrNotPCI) {
		return nil, fmt.Errorf("%w. %s", err, e.spec.Family.Instead)
	}
	if err != nil {
		return nil, err
	}
	for i := range ports {
		if ports[i].Address == f.Address {
			return &ports[i], nil
		}
	}
	return nil, fmt.Errorf("%s: not a port of an %s, but of %s. %s", f, e.spec.Family.Name, pci.Chip(e.root, f.ID), e.spec.Family.Instead)
}

// uses lists what a port's interfaces carry.
func (e examiner) uses(p Port) []string {
	var all []string
	for _, name := range p.Interfaces {
		what, err := e.carries(name)
		if err == nil {
			all = append(all, what...)
		}
	}
	return all
}

package doctor

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ixcap/ixcap/capture/sched/topology"
	"github.com/ixcap/ixcap/pci"
)

// Interface is a network interface that sockets of the kernel capture from. The caller
// knows all but the state of the link, and what the host uses it for.
type Interface struct {
	Port string // the name of the port, which begins with xdp: or packet:
	Name string // of the interface
	Kind string // of a virtual interface, as veth; "device" otherwise

	Queues, MaxQueues int // receive queues, as set and at most
	Ring, MaxRing     int // descriptors of a receive ring, as set and at most; 0: not known
	GRO, LRO          bool

	XDPKnown bool // it is known (Linux 6.3) whether the driver
	Native   bool // runs XDP programs
	ZeroCopy bool // and receives into the memory of AF_XDP sockets
	Occupied bool // another XDP program is attached, and an interface has room for one

	Missing    []string // capabilities that the port needs and this user lacks
	MissingXDP []string // of a packet port: those that keep xdp:Name from being tried first
}

// ExamineInterface is Examine for an interface that sockets of the kernel capture from.
// Of the spec it uses Needs, Service and Family.Holds.
func ExamineInterface(s Spec, i Interface) Report {
	e := examiner{root: "/", findLink: pci.FindLink, carries: carries, open: openNode, spec: s}
	return e.sockets(i)
}

func (i Interface) xdp() bool { return strings.HasPrefix(i.Port, "xdp:") }

func (e examiner) sockets(i Interface) Report {
	r := Report{Device: i.Port, Ports: []Port{}}
	add := func(c Check) { r.Checks = append(r.Checks, c) }
	add(e.kernel())
	add(e.interfaceLink(i))
	add(rights(i))
	if i.xdp() {
		add(e.hostTraffic(i))
		add(xdpMode(i))
		add(e.memlock(false))
	}
	add(offloads(i))
	add(queues(i))
	if c, ok := deviceRing(i); ok {
		add(c)
	}
	node := -1
	if _, err := fmt.Sscan(e.text("sys/class/net", i.Name, "device/numa_node"), &node); err != nil {
		node = -1
	}
	machine, rt := topology.Read(e.root), topology.ReadRealTime(e.root)
	cores, free := e.cores(machine, node)
	r.Cores = free
	isolated := len(free) >= e.spec.Needs.Cores
	for _, c := range []Check{cores, e.pollers(machine, node), e.realTime(rt, isolated), e.throttling(rt, isolated), e.quota(), e.tsc(), e.governor(machine, node)} {
		add(c)
	}
	return r
}

func (e examiner) interfaceLink(i Interface) Check {
	l := e.link(i.Name)
	c := Check{Name: "interface", State: OK, Found: fmt.Sprintf("%s (%s), up", i.Name, i.driver(e))}
	if l.Mbps > 0 {
		c.Found += fmt.Sprintf(", %d Mb/s", l.Mbps)
	}
	switch {
	case !l.Up:
		c.State, c.Found = Failed, i.Name+" is down"
		c.Why, c.Fix = "an interface that is down receives nothing", "sudo ip link set "+i.Name+" up"
	case !l.Carrier:
		c.State, c.Found = Warning, i.Name+" is up without carrier"
		c.Why, c.Fix = "nothing arrives until the link is there", "connect the cable, or bring the other end up"
	}
	return c
}

// driver names the kernel's driver, or the kind of a virtual interface.
func (i Interface) driver(e examiner) string {
	if target, err := filepath.EvalSymlinks(e.path("sys/class/net", i.Name, "device/driver")); err == nil {
		return "driver " + filepath.Base(target)
	}
	return i.Kind
}

func rights(i Interface) Check {
	c := Check{Name: "rights", State: OK, Found: "this user has the capabilities that " + i.Port + " needs"}
	lack := i.Missing
	switch {
	case len(i.Missing) > 0:
		c.State, c.Found = Failed, "this user lacks "+strings.Join(i.Missing, ", ")
		c.Why = "the kernel opens the sockets only with these capabilities"
	case len(i.MissingXDP) > 0:
		c.State, c.Why = Warning, "AF_XDP takes frames before the kernel makes packets of them"
	default:
		return c
	}
	if len(i.MissingXDP) > 0 {
		lack = i.MissingXDP
		c.Found += "; xdp:" + i.Name + ", which is tried first, needs " + strings.Join(lack, ", ")
	}
	c.Fix = "sudo setcap " + strings.ToLower(strings.Join(lack, ",")) + "+ep $(which hpcapdd)    # or run it as root"
	return c
}

func (e examiner) hostTraffic(i Interface) Check {
	uses, err := e.carries(i.Name)
	switch {
	case err != nil:
		return Check{Name: "host traffic", State: Unknown, Found: err.Error()}
	case len(uses) == 0:
		return Check{Name: "host traffic", State: OK, Found: "none: the host has no address or route on " + i.Name}
	}
	return Check{
		Name: "host traffic", State: Warning, Found: i.Name + " has " + strings.Join(uses, ", "),
		Why: "frames that an xdp port captures do not reach the host: connections over this interface break",
		Fix: "hpcapdd -i packet:" + i.Name + "    # or limit the capture: xdp:" + i.Name + ",take=MATCH (docs/PORTS.md)",
	}
}

func xdpMode(i Interface) Check {
	const name = "XDP"
	switch {
	case i.Occupied:
		return Check{Name: name, State: Failed, Found: "an XDP program is attached, perhaps of a running capture",
			Why: "an interface has room for one XDP program",
			Fix: "end its owner, which `bpftool net` and `bpftool link` name, or sudo ip link set dev " + i.Name + " xdp off\n" +
				"hpcapdd -i packet:" + i.Name + "    # works beside it"}
	case !i.XDPKnown:
		return Check{Name: name, State: Unknown, Found: "the kernel does not tell what the driver can do (Linux 6.3 does)"}
	case !i.Native:
		return Check{Name: name, State: Warning, Found: "generic mode: the driver runs no XDP programs",
			Why: "the kernel then makes a socket buffer of each frame and copies it: packet sockets are not slower",
			Fix: "hpcapdd -i packet:" + i.Name}
	case !i.ZeroCopy:
		return Check{Name: name, State: OK, Found: "the driver runs XDP programs; frames are copied once"}
	}
	return Check{Name: name, State: OK, Found: "the driver runs XDP programs, and receives without a copy"}
}

func offloads(i Interface) Check {
	var on []string
	if i.GRO && !i.xdp() { // native XDP comes before GRO
		on = append(on, "gro")
	}
	if i.LRO {
		on = append(on, "lro")
	}
	if len(on) == 0 {
		return Check{Name: "offloads", State: OK, Found: "no frames are joined"}
	}
	fix := "sudo ethtool -K " + i.Name
	for _, o := range on {
		fix += " " + o + " off"
	}
	c := Check{Name: "offloads", State: Warning, Found: strings.Join(on, " and ") + " on: frames of a flow are joined before they are captured", Fix: fix}
	if i.xdp() {
		c.Why = "an xdp port refuses what is longer than the MTU"
		return c
	}
	c.Why = "a packet port splits them again, but they share a stamp, and their IPv4 identifications are assumed"
	c.Fix += "    # or during a capture: " + i.Port + ",offloads=off"
	return c
}

func queues(i Interface) Check {
	c := Check{Name: "receive queues", State: OK, Found: fmt.Sprintf("%d of at most %d", i.Queues, i.MaxQueues)}
	if i.xdp() {
		c.Found += ", a socket and a stream for each"
	} else {
		c.Found += "; sockets=N spreads flows over N sockets"
	}
	return c
}

// deviceRing checks the device's own receive ring. ok is false if it does not tell.
func deviceRing(i Interface) (c Check, ok bool) {
	if i.MaxRing == 0 {
		return c, false
	}
	c = Check{Name: "receive ring", State: OK, Found: fmt.Sprintf("%d of at most %d descriptors", i.Ring, i.MaxRing)}
	if i.Ring < i.MaxRing {
		c.State = Warning
		c.Why = "the device drops frames (rx_missed_errors) while the kernel does not empty its ring"
		c.Fix = fmt.Sprintf("sudo ethtool -G %s rx %d", i.Name, i.MaxRing)
	}
	return c, true
}

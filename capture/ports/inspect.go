package ports

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/internal/netif"
	"github.com/ixcap/ixcap/capture/packet"
	"github.com/ixcap/ixcap/capture/xdp"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
)

// Interface is what matters of an interface to a capture with sockets of the kernel.
type Interface struct {
	Port string // the name of the port that Open would try first: xdp:eth0 or packet:eth0
	Name string // of the interface
	Kind string // of a virtual interface, as veth; "device" otherwise

	Queues, MaxQueues int // receive queues, as set and at most
	Ring, MaxRing     int // descriptors of a receive ring, as set and at most; 0: not known
	GRO, LRO          bool

	XDPKnown bool // it is known (Linux 6.3) whether the driver
	Native   bool // runs XDP programs
	ZeroCopy bool // and receives into the memory of AF_XDP sockets
	Occupied bool // another XDP program is attached, and an interface has room for one

	Missing    []string // capabilities that Port needs and the thread lacks
	MissingXDP []string // of a packet port: those that keep xdp:Name from being tried first
}

// Inspect returns what matters of the interface of a name that Open captures with sockets
// of the kernel; sockets is false for other names, and for an 82599 by its interface. It
// changes nothing and needs no rights.
func Inspect(name string) (i Interface, sockets bool, err error) {
	i.Name = name
	switch kindOf(name) {
	case device:
		return i, false, nil
	case afXDP:
		c, err := xdp.ParseSpec(name, xdp.Config{})
		if err != nil {
			return i, true, err
		}
		i.Name, i.Port = c.Interface, name
	case afPacket:
		c, err := packet.ParseSpec(name, packet.Config{})
		if err != nil {
			return i, true, err
		}
		i.Name, i.Port = c.Interface, name
	case byInterface:
		if f, err := pci.Resolve(name); err == nil {
			if _, ok := driver.Supports(f.ID); ok {
				return i, false, nil
			}
		}
	}
	n, err := netif.Open(i.Name)
	if err != nil {
		return i, true, err
	}
	i.Kind, i.GRO, i.LRO = n.Kind, n.On(netif.GRO), n.On(netif.LRO)
	i.Ring, i.MaxRing = n.ReceiveRing()
	i.Queues, i.MaxQueues, err = n.ReceiveQueues()
	i.Occupied = n.RunsXDP
	if x, unknown := n.XDP(); unknown == nil {
		i.XDPKnown, i.Native, i.ZeroCopy = true, x.Redirect, x.ZeroCopy
	}
	if err == nil {
		err = n.Close()
	}
	forXDP := netif.Missing(unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	if i.Port == "" {
		i.Port = packet.Scheme + i.Name
		switch {
		case hostUse(i.Name) != "" || i.Occupied:
		case len(forXDP) > 0:
			i.MissingXDP = forXDP
		default:
			i.Port = xdp.Scheme + i.Name
		}
	}
	i.Missing = netif.Missing(unix.CAP_NET_RAW)
	if strings.HasPrefix(i.Port, xdp.Scheme) {
		i.Missing = forXDP
	}
	return i, true, err
}

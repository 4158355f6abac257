package ports

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/packet"
	"github.com/ixcap/ixcap/capture/xdp"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
)

// openInterface opens the best port of an interface that works, see Open.
func openInterface(name string, cfg Config) (capture.Port, error) {
	f, err := pci.Resolve(name)
	if _, ok := driver.Supports(f.ID); err == nil && ok {
		if strings.Contains(f.Driver, "vfio") {
			return openNIC(name, cfg)
		}
		cfg.OnNotice(fmt.Sprintf("%s is an 82599 with the driver %s: it is captured at line rate once it is bound to vfio-pci (vfio-bind bind %s).", name, cmp.Or(f.Driver, "none"), name))
	} else if errors.Is(err, pci.ErrNoInterface) {
		return openNIC(name, cfg) // for its error
	}
	if err := checkSockets(name, cfg); err != nil {
		return nil, err
	}
	if use := hostUse(name); use != "" {
		cfg.OnNotice(fmt.Sprintf("%s %s, and AF_XDP takes frames from the host's stack: packet sockets capture it. Name xdp:%s to take the frames.", name, use, name))
		return openPacket(packet.Scheme+name, cfg)
	}
	p, why := openXDP(xdp.Scheme+name, cfg)
	if why == nil {
		return p, nil
	}
	p, err = openPacket(packet.Scheme+name, cfg)
	if err != nil {
		return nil, errors.Join(why, err)
	}
	cfg.OnNotice(fmt.Sprintf("packet sockets capture %s, because AF_XDP does not work: %v.", name, why))
	return p, nil
}

// hostUse says what the host uses an interface for: it has addresses beyond those of the
// link, belongs to a bridge or bond, or has VLAN interfaces, macvlans or others on top. It
// returns "" if there is no such use.
func hostUse(name string) string {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "" // opening it will say so
	}
	if link.Attrs().MasterIndex != 0 {
		return "belongs to a bridge or bond"
	}
	all, _ := netlink.AddrList(link, netlink.FAMILY_ALL)
	for _, a := range all {
		if !a.IP.IsLinkLocalUnicast() {
			return fmt.Sprintf("has the address %v", a.IP)
		}
	}
	links, _ := netlink.LinkList()
	for _, other := range links {
		// The parent of a veth is its peer.
		if o := other.Attrs(); o.ParentIndex == link.Attrs().Index && o.NetNsID < 0 && other.Type() != "veth" {
			return fmt.Sprintf("has the %s interface %s on top", other.Type(), o.Name)
		}
	}
	return ""
}

// CheckName returns why Open cannot open the port of a name, as far as that can be found
// out without opening it.
func CheckName(name string) error {
	switch kindOf(name) {
	case afXDP:
		c, err := xdp.ParseSpec(name, xdp.Config{})
		return cmp.Or(err, checkInterface(c.Interface))
	case afPacket:
		c, err := packet.ParseSpec(name, packet.Config{})
		return cmp.Or(err, checkInterface(c.Interface))
	case byInterface:
		if _, err := pci.Resolve(name); errors.Is(err, pci.ErrNoInterface) {
			return err
		}
		return nil
	}
	return withSockets(name, nic.CheckName(name))
}

// withSockets adds to the error of a name with an unknown scheme the names of ports of
// the kernel's sockets, which package pci does not know.
func withSockets(name string, err error) error {
	scheme, _, found := strings.Cut(name, ":")
	if err == nil || !found || pci.HasScheme(scheme) || pci.Kernel(name) {
		return err
	}
	return fmt.Errorf("%w. Any interface: %sIFACE or %sIFACE", err, xdp.Scheme, packet.Scheme)
}

func checkInterface(name string) error {
	if _, err := net.InterfaceByName(name); err != nil {
		return fmt.Errorf("interface %q: no such interface. `ip link` lists them", name)
	}
	return nil
}

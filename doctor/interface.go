package doctor

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// carries lists the configuration of a network interface that is lost when its driver
// is unbound: addresses, routes, membership of a bond or bridge, interfaces on top.
// Link-local addresses and the routes of addresses are not listed. examples/vfio-bind
// checks the same.
func carries(name string) ([]string, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	var all []string
	addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if a.Scope != unix.RT_SCOPE_LINK {
			all = append(all, "address "+a.IPNet.String())
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{LinkIndex: l.Attrs().Index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		switch {
		case r.Protocol == unix.RTPROT_KERNEL || r.Table == unix.RT_TABLE_LOCAL:
		case r.Dst == nil || r.Dst.IP.IsUnspecified():
			all = append(all, fmt.Sprintf("default route via %v", r.Gw))
		default:
			all = append(all, "route "+r.Dst.String())
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, other := range links {
		switch o := other.Attrs(); {
		case o.Index == l.Attrs().MasterIndex:
			all = append(all, fmt.Sprintf("member of %s %s", other.Type(), o.Name))
		case o.ParentIndex == l.Attrs().Index && o.NetNsID < 0 && other.Type() != "veth":
			all = append(all, fmt.Sprintf("%s %s on top", other.Type(), o.Name))
		}
	}
	return all, nil
}

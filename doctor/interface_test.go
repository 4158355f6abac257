package doctor

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/ixcap/ixcap/internal/nettest"
)

func TestTheConfigurationOfAnInterfaceIsListed(t *testing.T) {
	nettest.Namespace(t)
	port := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "peer"}
	port.Name = "eth2"
	require.NoError(t, netlink.LinkAdd(port))
	peer, err := netlink.LinkByName("peer")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(peer))
	require.NoError(t, netlink.LinkSetUp(port))
	// The kernel adds link-local addresses; they are not listed.
	require.NoError(t, netlink.AddrAdd(port, &netlink.Addr{IPNet: netlink.NewIPNet(net.IPv4(169, 254, 1, 1)), Scope: int(netlink.SCOPE_LINK)}))
	got, err := carries("eth2")
	require.NoError(t, err)
	require.Empty(t, got)

	address, err := netlink.ParseAddr("192.0.2.2/24")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(port, address))
	_, other, err := net.ParseCIDR("203.0.113.0/24")
	require.NoError(t, err)
	gateway := net.IPv4(192, 0, 2, 1)
	require.NoError(t, netlink.RouteAdd(&netlink.Route{LinkIndex: port.Attrs().Index, Gw: gateway}))
	require.NoError(t, netlink.RouteAdd(&netlink.Route{LinkIndex: port.Attrs().Index, Gw: gateway, Dst: other, Table: 7}))
	got, err = carries("eth2")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"address 192.0.2.2/24", "default route via 192.0.2.1", "route 203.0.113.0/24"}, got)

	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br7"
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	require.NoError(t, netlink.LinkAdd(bridge))
	require.NoError(t, netlink.LinkSetMaster(port, bridge))
	got, err = carries("eth2")
	require.NoError(t, err)
	require.Contains(t, got, "member of bridge br7")

	_, err = carries("no-such-if")
	require.Error(t, err)
}

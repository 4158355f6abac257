package headers

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// Tunnels are the tunnels behind which the innermost flow of a frame is looked for.
// Tags (802.1Q, 802.1ad), PPPoE and extension headers of IPv6 are no tunnels: the flow
// behind them is always found.
type Tunnels uint8

const (
	MPLS  Tunnels = 1 << iota // RFC 3032; also over GRE and UDP (RFC 7510)
	GRE                       // RFC 2784, 2890, with IP, MPLS or Ethernet inside
	VXLAN                     // RFC 7348, UDP port 4789
	GTPU                      // 3GPP TS 29.281, UDP port 2152
	IPIP                      // IPv4 and IPv6 in each other: RFC 2003, 2473, 4213

	AllTunnels = MPLS | GRE | VXLAN | GTPU | IPIP
)

var tunnelNames = []string{"mpls", "gre", "vxlan", "gtpu", "ipip"}

// String returns the names as ParseTunnels reads them.
func (t Tunnels) String() string {
	var names []string
	for i, name := range tunnelNames {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// ParseTunnels parses names joined by commas, as mpls,gre, or all, or none. It also
// accepts vlan and qinq, which are always looked through.
func ParseTunnels(s string) (t Tunnels, err error) {
next:
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSpace(word)
		for i, name := range tunnelNames {
			if word == name {
				t |= 1 << i
				continue next
			}
		}
		switch word {
		case "all":
			t = AllTunnels
		case "none", "vlan", "qinq":
		default:
			return 0, fmt.Errorf("tunnel %q: choose of vlan,%s, or all, or none. Join several with commas", word, AllTunnels)
		}
	}
	return t, nil
}

// Inner goes on to the packet or frame inside a tunnel of the kinds given. It returns
// false, and changes nothing, if there is none, or its header is cut or malformed.
func (h *Headers) Inner(frame []byte, tunnels Tunnels) bool {
	if tunnels == 0 || h.Version != 0 && (h.Transport < 0 || h.Fragment && h.Offset != 0) {
		return false
	}
	next := *h
	if !next.enter(h.Within(frame), tunnels) {
		h.count = next.count
		return false
	}
	*h = next
	return true
}

// enter enters the tunnel behind the headers found.
func (h *Headers) enter(data []byte, tunnels Tunnels) bool {
	if h.Version == 0 {
		mpls := h.Type == ether.TypeMPLS || h.Type == ether.TypeMPLSUp
		return mpls && tunnels&MPLS != 0 && h.labels(data, h.Network)
	}
	switch h.Proto {
	case ether.ProtoIPv4, ether.ProtoIPv6:
		if tunnels&IPIP != 0 {
			h.Tunnel, h.TunnelID = IPIP, 0
			return h.packet(data, h.Transport)
		}
	case ether.ProtoMPLS:
		return tunnels&MPLS != 0 && h.labels(data, h.Transport)
	case ether.ProtoGRE:
		return tunnels&GRE != 0 && h.gre(data, h.Transport, tunnels)
	case ether.ProtoUDP:
		return h.udp(data, h.Transport, tunnels)
	}
	return false
}

// labels follows a stack of MPLS. The tunnel's number is the label at its bottom.
func (h *Headers) labels(data []byte, at int) bool {
	what, behind, n := ether.Labels(data, at, maxHeaders-h.count)
	h.count += n
	if what == ether.Nothing {
		return false
	}
	h.Tunnel, h.TunnelID = MPLS, binary.BigEndian.Uint32(data[at+4*(n-1):])>>12
	if what == ether.Packet {
		return h.packet(data, behind)
	}
	return h.ethernet(data, behind)
}

// gre follows GRE. The tunnel's number is its key.
func (h *Headers) gre(data []byte, at int, tunnels Tunnels) bool {
	const checksum, key = 0x8000, 0x2000
	h.count++
	kind, behind, _, ok := ether.GRE(data, at)
	if !ok || behind > len(data) {
		return false
	}
	h.Tunnel, h.TunnelID = GRE, 0
	if flags := binary.BigEndian.Uint16(data[at:]); flags&key != 0 {
		if at += 4; flags&checksum != 0 {
			at += 4
		}
		h.TunnelID = binary.BigEndian.Uint32(data[at:])
	}
	if kind == ether.TypeMPLS || kind == ether.TypeMPLSUp {
		return tunnels&MPLS != 0 && h.labels(data, behind)
	}
	h.Version = 0
	h.carried(data, kind, behind)
	return h.Version != 0 || kind == ether.TypeBridging && h.Ethernet >= behind
}

// udp follows the tunnels over UDP, by the port they are sent to.
func (h *Headers) udp(data []byte, at int, tunnels Tunnels) bool {
	if !h.has(data, at, 8) {
		return false
	}
	switch to := binary.BigEndian.Uint16(data[at+2:]); {
	case to == ether.PortVXLAN && tunnels&VXLAN != 0:
		h.count++
		frame, ok := ether.VXLAN(data, at+8)
		if ok {
			h.Tunnel, h.TunnelID = VXLAN, binary.BigEndian.Uint32(data[at+12:])>>8
		}
		return ok && h.ethernet(data, frame)
	case to == ether.PortGTPU && tunnels&GTPU != 0:
		packet, n, ok := ether.GTPU(data, at+8, maxHeaders-h.count)
		if h.count += 1 + n; ok {
			h.Tunnel, h.TunnelID = GTPU, binary.BigEndian.Uint32(data[at+12:])
		}
		return ok && h.packet(data, packet)
	case to == ether.PortMPLS && tunnels&MPLS != 0:
		return h.labels(data, at+8)
	}
	return false
}

package fanout

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// carried is what a header can carry: bytes and what they are.
type carried struct {
	kind layers.EthernetType
	data []byte
}

const bridged = layers.EthernetType(ether.TypeBridging) // data is a frame

// wrapping puts a carried thing into another between two ends.
type wrapping struct {
	name    string
	tunnels Tunnels // that must be asked for
	fits    func(c carried) bool
	wrap    func(t testing.TB, e ends, c carried) carried
}

func isIP(c carried) bool {
	return c.kind == layers.EthernetTypeIPv4 || c.kind == layers.EthernetTypeIPv6
}
func isIPOrFrame(c carried) bool { return isIP(c) || c.kind == bridged }
func isMPLS(c carried) bool      { return c.kind == layers.EthernetTypeMPLSUnicast }
func anything(carried) bool      { return true }

// over is a packet of IP between two ends.
func (e ends) over(t testing.TB, proto layers.IPProtocol, payload []byte) carried {
	if e.six() {
		return carried{e.kind(), frameOf(t, e.ip6(proto), gopacket.Payload(payload))}
	}
	return carried{e.kind(), frameOf(t, e.ip4(proto), gopacket.Payload(payload))}
}

// overUDP is a packet of UDP to a port. Its source port is that of src, in both
// directions, as tunnels have it.
func (e ends) overUDP(t testing.TB, to uint16, payload []byte) carried {
	b := binary.BigEndian.AppendUint16(nil, e.srcPort)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return e.over(t, layers.IPProtocolUDP, append(append(b, 0, 0), payload...))
}

// frame is a frame of Ethernet that carries c.
func (c carried) frame() []byte {
	if c.kind == bridged {
		return c.data
	}
	return append([]byte{0, 0x1b, 0x21, 0x3c, 0x9d, 0xf8, 0, 0x1b, 0x21, 0x3c, 0x9d, 0xf9, byte(c.kind >> 8), byte(c.kind)}, c.data...)
}

// protoOf is the protocol of IP that carries c.
func protoOf(c carried) layers.IPProtocol {
	switch c.kind {
	case layers.EthernetTypeIPv4:
		return layers.IPProtocolIPv4
	case layers.EthernetTypeIPv6:
		return layers.IPProtocolIPv6
	}
	return ether.ProtoMPLS
}

// tagged is a tag of a VLAN.
func tagged(kind layers.EthernetType) func(testing.TB, ends, carried) carried {
	return func(_ testing.TB, _ ends, c carried) carried {
		f := c.frame()
		return carried{bridged, append(append(append([]byte{}, f[:12]...), byte(kind>>8), byte(kind), 0x20, 7), f[12:]...)}
	}
}

// greFlags is GRE with optional fields.
func greFlags(flags byte) func(testing.TB, ends, carried) carried {
	return func(t testing.TB, e ends, c carried) carried {
		b := []byte{flags, 0, byte(c.kind >> 8), byte(c.kind)}
		for _, f := range []byte{0x80, 0x20, 0x10} {
			if flags&f != 0 {
				b = append(b, 1, 2, 3, 4)
			}
		}
		return e.over(t, layers.IPProtocolGRE, append(b, c.data...))
	}
}

func gtp(header ...byte) func(testing.TB, ends, carried) carried {
	return func(t testing.TB, e ends, c carried) carried {
		b := append([]byte{}, header...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(header)-8+len(c.data)))
		return e.overUDP(t, ether.PortGTPU, append(b, c.data...))
	}
}

// label is a label of MPLS before others or what the stack carries.
func label(_ testing.TB, e ends, c carried) carried {
	last := byte(1)
	data := c.data
	switch c.kind {
	case layers.EthernetTypeMPLSUnicast:
		last = 0
	case bridged: // with a control word
		data = append([]byte{0, 0, 0, 9}, data...)
	}
	return carried{layers.EthernetTypeMPLSUnicast, append([]byte{0, byte(e.srcPort), 0x10 | last, 64}, data...)}
}

var wrappings = []wrapping{
	{"vlan", 0, anything, tagged(ether.TypeVLAN)},
	{"qinq", 0, func(c carried) bool { return c.kind == bridged }, tagged(ether.TypeQinQ)},
	{"frame", 0, anything, func(_ testing.TB, _ ends, c carried) carried { return carried{bridged, c.frame()} }},
	{"mpls", MPLS, func(c carried) bool { return isIPOrFrame(c) || isMPLS(c) }, label},
	{"mpls without control word", MPLS, func(c carried) bool { return c.kind == bridged }, func(_ testing.TB, _ ends, c carried) carried {
		return carried{layers.EthernetTypeMPLSUnicast, append([]byte{0, 5, 0x11, 64}, c.data...)}
	}},
	{"mpls over udp", MPLS, isMPLS, func(t testing.TB, e ends, c carried) carried { return e.overUDP(t, ether.PortMPLS, c.data) }},
	{"mpls over ip", MPLS, isMPLS, func(t testing.TB, e ends, c carried) carried { return e.over(t, ether.ProtoMPLS, c.data) }},
	{"gre", GRE, func(c carried) bool { return isIPOrFrame(c) || isMPLS(c) }, greFlags(0)},
	{"gre with key", GRE, isIPOrFrame, greFlags(0x20)},
	{"gre with checksum, key and number", GRE, isIPOrFrame, greFlags(0xb0)},
	{"vxlan", VXLAN, func(c carried) bool { return c.kind == bridged }, func(t testing.TB, e ends, c carried) carried {
		return e.overUDP(t, ether.PortVXLAN, append([]byte{8, 0, 0, 0, 0, 0, 42, 0}, c.data...))
	}},
	{"gtpu", GTPU, isIP, gtp(0x30, 255, 0, 0, 1, 2, 3, 4)},
	{"gtpu with number", GTPU, isIP, gtp(0x32, 255, 0, 0, 1, 2, 3, 4, 0, 7, 0, 0)},
	{"gtpu of 5G", GTPU, isIP, gtp(0x34, 255, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0x85, 1, 0x10, 9, 0)},
	{"ipip", IPIP, isIP, func(t testing.TB, e ends, c carried) carried { return e.over(t, protoOf(c), c.data) }},
	{"pppoe", 0, isIP, func(_ testing.TB, _ ends, c carried) carried {
		kind := byte(0x21)
		if c.kind == layers.EthernetTypeIPv6 {
			kind = 0x57
		}
		n := len(c.data) + 2
		return carried{ether.TypePPPoES, append([]byte{0x11, 0, 0, 7, byte(n >> 8), byte(n), 0, kind}, c.data...)}
	}},
}

// hashOf is the hash of a frame's flow without a memory of fragments before.
func hashOf(frame []byte, tunnels Tunnels) uint32 {
	return flow(frame, 1, tunnels, new(fragments))
}

// carriedBy is a packet of a flow.
func (e ends) carried(t testing.TB, proto layers.IPProtocol) carried {
	return carried{e.kind(), frameOf(t, e.packet(proto, 20)...)}
}

func TestEachTunnelIsLookedThroughWhenAsked(t *testing.T) {
	r := rand.New(rand.NewPCG(20, 0))
	for _, w := range wrappings {
		for i := range 4 {
			t.Run(fmt.Sprint(w.name, i), func(t *testing.T) {
				inner, outer := randomEnds(r, i&1 != 0), randomEnds(r, i&2 != 0)
				inside := inner.carried(t, layers.IPProtocolTCP)
				if !w.fits(inside) {
					inside = carried{bridged, inside.frame()}
				}
				if !w.fits(inside) {
					inside = label(t, outer, inner.carried(t, layers.IPProtocolTCP))
				}
				frame := w.wrap(t, outer, inside).frame()
				want := hashOf(inner.frame(t, layers.IPProtocolTCP), 0)
				require.Equal(t, want, hashOf(frame, AllTunnels), "%x", frame)
				require.Equal(t, want, hashOf(frame, w.tunnels|tunnelsOf(inside)))
				if w.tunnels != 0 {
					other := randomEnds(r, inner.six()).carried(t, layers.IPProtocolTCP)
					if inside.kind == bridged {
						other = carried{bridged, other.frame()}
					}
					if isMPLS(inside) {
						other = label(t, outer, other)
					}
					require.Equal(t, hashOf(frame, AllTunnels&^w.tunnels), hashOf(w.wrap(t, outer, other).frame(), AllTunnels&^w.tunnels), "not asked: flows of the tunnel stay together")
				}
			})
		}
	}
}

func tunnelsOf(c carried) Tunnels {
	if isMPLS(c) {
		return MPLS
	}
	return 0
}

// stack is a random flow in up to most wrappings, in both directions.
type stack struct {
	there, back []byte
	inner       ends
	proto       layers.IPProtocol
	names       []string
}

func randomStack(t testing.TB, r *rand.Rand, most int) stack {
	s := stack{inner: randomEnds(r, r.IntN(2) == 0), proto: layers.IPProtocolTCP}
	if r.IntN(2) == 0 {
		s.proto = layers.IPProtocolUDP
	}
	// No known ports, behind which tshark would look.
	s.inner.srcPort, s.inner.dstPort = s.inner.srcPort|0xc000, s.inner.dstPort|0xc000
	there, back := s.inner.carried(t, s.proto), s.inner.swapped().carried(t, s.proto)
	for range r.IntN(most + 1) {
		w := wrappings[r.IntN(len(wrappings))]
		if !w.fits(there) {
			continue
		}
		outer := randomEnds(r, r.IntN(2) == 0)
		outer.srcPort, outer.dstPort = outer.srcPort|0xc000, outer.dstPort|0xc000
		there, back = w.wrap(t, outer, there), w.wrap(t, outer.swapped(), back)
		s.names = append(s.names, w.name)
	}
	s.there, s.back = there.frame(), back.frame()
	return s
}

func TestNestedTunnelsEndAtTheInnermostFlowInBothDirections(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 0))
	deepest := 0
	for range 1500 {
		s := randomStack(t, r, 8)
		deepest = max(deepest, len(s.names))
		want := hashOf(s.inner.frame(t, s.proto), 0)
		require.Equal(t, want, hashOf(s.there, AllTunnels), "%v %x", s.names, s.there)
		require.Equal(t, want, hashOf(s.back, AllTunnels), "%v %x", s.names, s.back)
	}
	require.GreaterOrEqual(t, deepest, 5)
}

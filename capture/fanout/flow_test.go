package fanout

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/internal/ether"
	"github.com/ixcap/ixcap/capture/stream/entry"
)

// extended is a packet of IPv6 with extension headers before TCP.
func extended(t testing.TB, e ends, chain ...[]byte) carried {
	payload := slices.Clone(frameOf(t, e.packet(layers.IPProtocolTCP, 20)...)[40:])
	next := byte(ether.ProtoTCP)
	for _, header := range slices.Backward(chain) {
		h := slices.Clone(header[1:])
		h[0] = next
		payload, next = append(h, payload...), header[0]
	}
	return e.over(t, layers.IPProtocol(next), payload)
}

// header is a type and an extension header of IPv6 whose first byte is to be set.
func header(kind byte, more ...byte) []byte { return append([]byte{kind, 0}, more...) }

func TestExtensionHeadersAreLookedThrough(t *testing.T) {
	r := rand.New(rand.NewPCG(30, 0))
	options := header(ether.ProtoHopByHop, 0, 1, 4, 0, 0, 0, 0)
	long := header(ether.ProtoDestination, append([]byte{1, 1, 12}, make([]byte, 12)...)...)
	routing := header(ether.ProtoRouting, append([]byte{2, 4, 0, 0, 0, 0, 0}, make([]byte, 16)...)...)
	only := header(ether.ProtoFragment, 0, 0, 0, 1, 2, 3, 4) // of a datagram in one fragment
	ah := header(ether.ProtoAH, append([]byte{4, 0, 0}, make([]byte, 20)...)...)
	for range 50 {
		e := randomEnds(r, true)
		want := hashOf(e.frame(t, layers.IPProtocolTCP), 0)
		for i, chain := range [][][]byte{{options}, {long}, {routing}, {only}, {ah}, {options, long, routing, only, ah}, {options, only, long}} {
			require.Equal(t, want, hashOf(extended(t, e, chain...).frame(), 0), "chain %d", i)
			require.Equal(t, want, hashOf(extended(t, e.swapped(), chain...).frame(), 0), "chain %d, the other direction", i)
		}
	}
}

func TestFlowsOfOtherProtocolsAreWhole(t *testing.T) {
	e := ends{"10.0.0.1", "10.0.0.2", 7, 9}
	six := ends{"2001:db8::1", "2001:db8::2", 7, 9}
	back := func(e ends, proto layers.IPProtocol, payload []byte) {
		t.Helper()
		require.Equal(t, hashOf(e.over(t, proto, payload).frame(), 0), hashOf(e.swapped().over(t, proto, payload).frame(), 0))
	}
	for _, e := range []ends{e, six} {
		back(e, layers.IPProtocolESP, []byte{1, 2, 3, 4, 5, 6, 7, 8})
		back(e, layers.IPProtocolSCTP, []byte{0, 5, 0, 5, 1, 1, 1, 1})
		require.NotEqual(t, hashOf(e.over(t, layers.IPProtocolSCTP, []byte{0, 5, 0, 6}).frame(), 0), hashOf(e.over(t, layers.IPProtocolSCTP, []byte{0, 5, 0, 7}).frame(), 0))
	}
	// An echo and its answer.
	require.Equal(t, hashOf(e.over(t, layers.IPProtocolICMPv4, []byte{8, 0, 0, 0, 1, 1, 0, 1}).frame(), 0),
		hashOf(e.swapped().over(t, layers.IPProtocolICMPv4, []byte{0, 0, 0, 0, 1, 1, 0, 1}).frame(), 0))

	arp := func(op byte, e ends) []byte {
		from, to := e.ip4(0).SrcIP.To4(), e.ip4(0).DstIP.To4()
		b := append([]byte{0, 1, 8, 0, 6, 4, 0, op, 2, 0, 0, 0, 0, op}, from...)
		return carried{layers.EthernetTypeARP, append(append(b, 0, 0, 0, 0, 0, 0), to...)}.frame()
	}
	require.Equal(t, hashOf(arp(1, e), 0), hashOf(arp(2, e.swapped()), 0), "question and answer")
	require.NotEqual(t, hashOf(arp(1, e), 0), hashOf(arp(1, ends{src: "10.0.0.1", dst: "10.0.0.3"}), 0))
}

// An ICMP error goes where the flow of the packet goes that it quotes.
func TestErrorsFollowTheFlowTheyQuote(t *testing.T) {
	r := rand.New(rand.NewPCG(31, 0))
	for i := range 100 {
		e, router := randomEnds(r, i%2 == 1), randomEnds(r, i%2 == 1)
		inner := e.carried(t, layers.IPProtocolUDP)
		proto, kind := layers.IPProtocolICMPv4, []byte{3, 4, 5, 11, 12}[i%5]
		if e.six() {
			proto, kind = layers.IPProtocolICMPv6, byte(1+i%4)
		}
		frame := router.over(t, proto, append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, inner.data[:min(len(inner.data), 48)]...)).frame()
		require.Equal(t, hashOf(e.frame(t, layers.IPProtocolUDP), 0), hashOf(frame, 0))
	}
}

// fragmented are the fragments of a datagram of UDP, each with part bytes.
func fragmented(t testing.TB, e ends, id uint32, size, part int) (list [][]byte) {
	start := 20
	if e.six() {
		start = 40
	}
	whole := frameOf(t, e.packet(layers.IPProtocolUDP, size)...)[start:]
	for at := 0; at < len(whole); at += part {
		piece, more := whole[at:min(at+part, len(whole))], at+part < len(whole)
		if e.six() {
			h := binary.BigEndian.AppendUint16([]byte{ether.ProtoUDP, 0}, uint16(at))
			if more {
				h[3] |= 1
			}
			h = binary.BigEndian.AppendUint32(h, id)
			list = append(list, e.over(t, ether.ProtoFragment, append(h, piece...)).frame())
			continue
		}
		ip := e.ip4(layers.IPProtocolUDP)
		ip.Id, ip.FragOffset = uint16(id), uint16(at/8)
		if more {
			ip.Flags = layers.IPv4MoreFragments
		}
		list = append(list, frameOf(t, eth(layers.EthernetTypeIPv4), ip, gopacket.Payload(piece)))
	}
	return list
}

func TestFragmentsFollowTheFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(32, 0))
	f := new(fragments)
	var late [][]byte
	var want []uint32
	for i := range 500 {
		e := randomEnds(r, i%2 == 1)
		of := hashOf(e.frame(t, layers.IPProtocolUDP), 0)
		for k, fragment := range fragmented(t, e, r.Uint32(), 200, 64) {
			if k < 2 {
				require.Equal(t, of, flow(fragment, 1, 0, f), "fragment %d", k)
				continue
			}
			late, want = append(late, fragment), append(want, of) // many datagrams at a time
		}
	}
	for i := range late {
		require.Equal(t, want[i], flow(late[i], 2, 0, f))
	}
}

func TestFragmentsInTunnelsFollowTheFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 0))
	for _, w := range wrappings {
		e, outer := randomEnds(r, false), randomEnds(r, false)
		f := new(fragments)
		for _, fragment := range fragmented(t, e, 7, 200, 64) {
			c := carried{layers.EthernetTypeIPv4, fragment[14:]}
			if !w.fits(c) {
				c = carried{bridged, fragment}
			}
			if !w.fits(c) {
				c = label(t, outer, carried{layers.EthernetTypeIPv4, fragment[14:]})
			}
			require.Equal(t, hashOf(e.frame(t, layers.IPProtocolUDP), 0), flow(w.wrap(t, outer, c).frame(), 1, AllTunnels, f), w.name)
		}
	}
}

// A packet of a tunnel that is itself fragmented: all go where the first goes, which
// has the inner headers.
func TestFragmentsOfATunnelFollowTheFirst(t *testing.T) {
	inner, outer := ends{"10.0.0.1", "10.0.0.2", 7, 9}, ends{"192.0.2.1", "192.0.2.2", 5000, 0}
	whole := wrappings[slices.IndexFunc(wrappings, func(w wrapping) bool { return w.name == "vxlan" })].
		wrap(t, outer, carried{bridged, inner.frame(t, layers.IPProtocolTCP)}).data[20:]
	f := new(fragments)
	for _, at := range []int{0, 64} {
		ip := outer.ip4(layers.IPProtocolUDP)
		ip.Id, ip.FragOffset = 5, uint16(at/8)
		if at == 0 {
			ip.Flags = layers.IPv4MoreFragments
		}
		fragment := frameOf(t, eth(layers.EthernetTypeIPv4), ip, gopacket.Payload(whole[at:min(at+64, len(whole))]))
		require.Equal(t, hashOf(inner.frame(t, layers.IPProtocolTCP), 0), flow(fragment, 1, VXLAN, f))
	}
}

func TestReorderedFragmentsStayTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(34, 0))
	for i := range 300 {
		f := new(fragments)
		e := randomEnds(r, i%2 == 1)
		list := fragmented(t, e, 9, 300, 64)
		r.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
		hashes := map[uint32]bool{}
		for _, fragment := range list {
			hashes[flow(fragment, 1, 0, f)] = true
		}
		require.Len(t, hashes, 1)
		// The next datagram with this identification, in order.
		for _, fragment := range fragmented(t, e, 9, 300, 64) {
			require.Equal(t, hashOf(e.frame(t, layers.IPProtocolUDP), 0), flow(fragment, 1, 0, f))
		}
	}
}

func TestAnIdentificationIsUsedAgain(t *testing.T) {
	f := new(fragments)
	one, two := ends{"10.0.0.1", "10.0.0.2", 7, 9}, ends{"10.0.0.1", "10.0.0.2", 8, 9}
	for _, e := range []ends{one, two, one} {
		for _, fragment := range fragmented(t, e, 3, 200, 64) {
			require.Equal(t, hashOf(e.frame(t, layers.IPProtocolUDP), 0), flow(fragment, 1, 0, f))
		}
	}
	late := fragmented(t, one, 3, 200, 64)[1]
	require.Equal(t, hashOf(one.frame(t, layers.IPProtocolUDP), 0), flow(late, 1+fragmentTimeout, 0, f))
	require.NotEqual(t, hashOf(one.frame(t, layers.IPProtocolUDP), 0), flow(late, 2+2*fragmentTimeout, 0, f), "forgotten")
}

func TestTheOldestDatagramsAreForgotten(t *testing.T) {
	r := rand.New(rand.NewPCG(35, 0))
	f := new(fragments)
	const datagrams = 2 * fragmentSets * fragmentWays
	var late [][]byte
	var want []uint32
	for i := range datagrams {
		e := randomEnds(r, false)
		list := fragmented(t, e, r.Uint32(), 80, 64)
		flow(list[0], uint32(i>>8), 0, f) // the first half is older
		late, want = append(late, list[1]), append(want, hashOf(e.frame(t, layers.IPProtocolUDP), 0))
	}
	kept := 0
	for i := datagrams - 1; i >= datagrams*3/4; i-- {
		if flow(late[i], datagrams>>8, 0, f) == want[i] {
			kept++
		}
	}
	require.Greater(t, kept, datagrams/4*9/10, "of the last 2048")
}

// swapped is a frame in the other direction: addresses of Ethernet and of the first
// packet of IP, and its ports.
func swapped(frame []byte) []byte {
	b := slices.Clone(frame)
	exchange := func(x, y, n int) {
		for i := range n {
			b[x+i], b[y+i] = b[y+i], b[x+i]
		}
	}
	if len(b) < 14 {
		return b
	}
	exchange(0, 6, 6)
	kind, at := binary.BigEndian.Uint16(b[12:]), 14
	for ether.IsVLAN(kind) && at+4 <= len(b) {
		kind, at = binary.BigEndian.Uint16(b[at+2:]), at+4
	}
	var proto byte
	switch {
	case kind == ether.TypeIPv4 && at+20 <= len(b) && b[at]>>4 == 4 && b[at]&15 >= 5:
		exchange(at+12, at+16, 4)
		if b[at+6]&0x1f != 0 || b[at+7] != 0 { // no first fragment
			return b
		}
		proto, at = b[at+9], at+int(b[at]&15)*4
	case kind == ether.TypeIPv6 && at+40 <= len(b) && b[at]>>4 == 6:
		exchange(at+8, at+24, 16)
		proto, at = b[at+6], at+40
		for extension(proto) && at+8 <= len(b) {
			next, size := b[at], 8+8*int(b[at+1])
			if proto == ether.ProtoFragment {
				size = 8
				if b[at+2] != 0 || b[at+3]&^7 != 0 {
					return b
				}
			}
			proto, at = next, at+size
		}
	default:
		return b
	}
	for proto == ether.ProtoAH && at+8 <= len(b) {
		proto, at = b[at], at+8+4*int(b[at+1])
	}
	switch proto {
	case ether.ProtoTCP, ether.ProtoUDP, ether.ProtoSCTP, protoDCCP, protoUDPLite:
		if at+4 <= len(b) {
			exchange(at, at+2, 2)
		}
	}
	return b
}

func extension(proto byte) bool {
	return slices.Contains([]byte{ether.ProtoHopByHop, ether.ProtoRouting, ether.ProtoFragment, ether.ProtoDestination, ether.ProtoMobility, ether.ProtoHIP, ether.ProtoShim6}, proto)
}

// one assigns one frame with a run of the fast path. It returns whether that took it,
// and its entry.
func one(run func([]entry.Entry, []byte, uint64, uint64, bool, *table, bool) int, frame []byte, more bool, t *table, tunnels Tunnels) (bool, entry.Entry) {
	var m memory
	m.add(1, frame)
	m.entries[0].Member = [entry.Groups]uint8{1, 2, 3, 4, 5, 6, 7, 8}
	h := hashed{tunnels: tunnels}
	n := run(m.entries, append(m.data, make([]byte, 64)...), memoryMask, 3<<32, more, t, h.tunnelsUDP())
	return n == 1, m.entries[0]
}

func TestFastPathTakesWhatNetworksCarryMost(t *testing.T) {
	r := rand.New(rand.NewPCG(37, 0))
	tab := newTable(map[int][]uint8{0: make([]uint8, buckets)})
	for _, run := range []func([]entry.Entry, []byte, uint64, uint64, bool, *table, bool) int{fastRun, fastRunGo} {
		takes := func(frame []byte, tunnels Tunnels) bool {
			ok, _ := one(run, frame, false, tab, tunnels)
			return ok
		}
		for _, six := range []bool{false, true} {
			least := map[bool]int{false: fast4, true: fast6}[six]
			for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP} {
				e := randomEnds(r, six)
				c := e.carried(t, proto)
				for tags := range 4 {
					frame := c.frame()
					need := least + tags*tagBytes
					require.Equal(t, tags <= maxTags, takes(frame, AllTunnels), "%d tags", tags)
					require.Equal(t, tags <= maxTags, takes(frame[:need], 0))
					require.False(t, takes(frame[:need-1], 0))
					c = tagged(layers.EthernetType(ether.TypeVLAN+tags%2*(ether.TypeQinQ-ether.TypeVLAN)))(t, e, c)
				}
				require.False(t, takes(fragmented(t, e, 1, 100, 64)[0], 0))
			}
			for _, to := range []uint16{ether.PortVXLAN, ether.PortGTPU, ether.PortMPLS} {
				e := randomEnds(r, six)
				e.dstPort = to
				require.True(t, takes(e.frame(t, layers.IPProtocolUDP), GRE))
				require.False(t, takes(e.frame(t, layers.IPProtocolUDP), VXLAN))
			}
		}
	}
}

// FuzzFlow checks that the walk stays within a frame, that the flow is the same in both
// directions, and that the fast path, in Go and in assembly, agrees with the walk.
func FuzzFlow(f *testing.F) {
	r := rand.New(rand.NewPCG(36, 0))
	for range 40 {
		f.Add(randomStack(f, r, 6).there, uint8(AllTunnels))
		f.Add(randomEnds(r, r.IntN(2) == 0).frame(f, layers.IPProtocolUDP), uint8(0))
	}
	for _, fragment := range fragmented(f, randomEnds(r, true), 9, 300, 64) {
		f.Add(fragment, uint8(0))
	}
	for i := range 32 { // 0 to 3 tags, whole and cut
		e := randomEnds(r, i%2 == 0)
		c := e.carried(f, []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP}[i/2%2])
		for k := range i / 8 {
			c = tagged([]layers.EthernetType{ether.TypeVLAN, ether.TypeQinQ}[k%2])(f, e, c)
		}
		frame := c.frame()
		f.Add(frame, uint8(i))
		f.Add(frame[:36+i], uint8(0))
	}
	// A table in which each bucket has members of its own.
	column, next := make([]uint8, buckets), make([]uint8, buckets)
	for i := range column {
		column[i], next[i] = uint8(i&127), uint8(i>>7)
	}
	t1, t2, t3 := newTable(map[int][]uint8{1: column, 3: next}), newTable(map[int][]uint8{1: column, 3: next}), newTable(map[int][]uint8{1: column, 3: next})
	f.Fuzz(func(t *testing.T, frame []byte, tunnels uint8) {
		if len(frame) > 4096 {
			return
		}
		asked := Tunnels(tunnels) & AllTunnels
		there := hashOf(frame, asked)
		require.Equal(t, there, hashOf(slices.Clip(frame), asked))
		require.Equal(t, hashOf(frame, 0), hashOf(swapped(frame), 0))
		for _, more := range []bool{false, true} {
			fast, e := one(fastRun, frame, more, t1, asked)
			fastGo, eGo := one(fastRunGo, frame, more, t2, asked)
			require.Equal(t, fastGo, fast)
			require.Equal(t, eGo, e)
			if fast {
				want := eGo
				want.Member = [entry.Groups]uint8{1, 2, 3, 4, 5, 6, 7, 8}
				t3.give(&want, there, 3<<32, more)
				require.Equal(t, want, e)
			}
		}
		w := t1.index[there>>(32-tableBits)] / wordScale
		require.Equal(t, t2.words[w], t1.words[w])
	})
}

package rules

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

const unlimited = 1<<32 - 1

func mustParse(t testing.TB, text string) *Rules {
	r, err := Parse(text)
	require.NoError(t, err)
	return r
}

// udp is an Ethernet frame of size bytes with a datagram from 10.1.2.3:1000.
func udp(t testing.TB, size int, dst uint16) []byte {
	return packet(t, size, &layers.UDP{SrcPort: 1000, DstPort: layers.UDPPort(dst)}, layers.IPProtocolUDP)
}

func packet(t testing.TB, size int, l4 gopacket.SerializableLayer, proto layers.IPProtocol) []byte {
	b := gopacket.NewSerializeBuffer()
	require.NoError(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: []byte{10, 1, 2, 3}, DstIP: []byte{192, 0, 2, 1}},
		l4, gopacket.Payload(make([]byte, size-14-20-8))))
	return b.Bytes()[:size]
}

func TestFirstRuleThatMatchesDecidesAndIsCounted(t *testing.T) {
	r := mustParse(t, "(udp and port 53) all; (net 10.0.0.0/8 and udp) 96; (vlan 12) drop; (arp) headers; 128")
	tagged := frameOf(udp(t, 400, 53))
	tagged.Info, tagged.VLAN = ring.HasVLAN|ring.Stripped, 0x600c
	arp := make([]byte, 60)
	copy(arp[12:], []byte{8, 6, 0, 1, 8, 0, 6, 4})
	frames := []ring.Frame{
		frameOf(udp(t, 300, 53)), frameOf(udp(t, 300, 54)), frameOf(udp(t, 70, 54)), tagged, frameOf(arp),
		frameOf(make([]byte, 500)), frameOf(make([]byte, 60)), frameOf(make([]byte, 3)), {},
	}
	m, keep := r.NewMatcher(), make([]uint32, len(frames))
	m.Apply(frames, keep, unlimited)
	require.Equal(t, []uint32{300, 96, 70, Drop, 42, 128, 60, 3, 1}, keep, "an empty frame that is kept is not dropped")
	require.Equal(t, []Hits{{1, 300}, {2, 370}, {1, 400}, {1, 60}, {4, 563}}, m.Hits())
	m.Apply(frames[:1], keep, unlimited)
	require.Equal(t, Hits{2, 600}, m.Hits()[0], "counts add up")
	m.Apply(nil, nil, unlimited)
	m.Apply(frames, keep, 64)
	require.Equal(t, []uint32{64, 64, 64, Drop, 42, 64, 60, 3, 1}, keep, "never more than the limit")
}

func TestRulesWithoutAMatchAreForAllFrames(t *testing.T) {
	f := []ring.Frame{frameOf(udp(t, 300, 53))}
	for text, want := range map[string]uint32{"none": 300, "all": 300, "drop": Drop, "64": 64, "65535": 300, "headers": 42, "(tcp) drop": 300} {
		keep := make([]uint32, 1)
		mustParse(t, text).NewMatcher().Apply(f, keep, unlimited)
		require.Equal(t, want, keep[0], text)
	}
}

func TestTagInTheDescriptorIsMatchedAsIfItWereInTheFrame(t *testing.T) {
	for match, want := range map[string]bool{
		"vlan": true, "vlan 12": true, "vlan 13": false, "vlan 12 and udp": true, "vlan and port 53": true, "vlan and host 10.1.2.3": true,
		"udp": false, "ip": false, "ether proto 0x8100": true, "not vlan 13 and udp": true, "vlan and vlan": false, "ether src host 2:0:0:0:0:1": true,
	} {
		f := frameOf(udp(t, 300, 53))
		f.Info, f.VLAN = ring.HasVLAN|ring.Stripped|ring.IPv4, 12|7<<13
		keep := make([]uint32, 1)
		mustParse(t, "("+match+") all; drop").NewMatcher().Apply([]ring.Frame{f}, keep, unlimited)
		require.Equal(t, want, keep[0] != Drop, match)
		f.Info &^= ring.Stripped
		mustParse(t, "(vlan) all; drop").NewMatcher().Apply([]ring.Frame{f}, keep, unlimited)
		require.Equal(t, uint32(Drop), keep[0], "without Stripped the tag must be in the frame")
	}
}

// decoded is where the headers end according to gopacket; ok is false where its rules
// differ.
func decoded(b []byte) (end int, ok bool) {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	for _, l := range p.Layers() {
		switch l.LayerType() {
		case layers.LayerTypeEthernet, layers.LayerTypeDot1Q, layers.LayerTypeIPv4, layers.LayerTypeIPv6, layers.LayerTypeIPv6HopByHop,
			layers.LayerTypeIPv6Fragment, layers.LayerTypeIPv6Destination, layers.LayerTypeMPLS:
			end += len(l.LayerContents())
		case layers.LayerTypeTCP, layers.LayerTypeUDP, layers.LayerTypeSCTP, layers.LayerTypeICMPv4, layers.LayerTypeARP:
			return end + len(l.LayerContents()), true
		case layers.LayerTypeICMPv6:
			return end + 8, true
		default:
			return 0, false // a fragment, even the first, which has a header
		}
	}
	return 0, false
}

func TestHeadersEndWhereGopacketSeesThemEnd(t *testing.T) {
	for _, file := range append([]string{hosts}, others...) {
		if file != hosts {
			file = filepath.Join("../../../shared/pcaps", file)
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			frames := readCapture(t, file)
			// Behind one and two tags, too.
			for _, b := range frames[:len(frames)/4] {
				frames = append(frames, slices.Concat(b[:12], []byte{0x81, 0, 0, 5}, b[12:]), slices.Concat(b[:12], []byte{0x88, 0xa8, 0, 6, 0x81, 0, 0, 5}, b[12:]))
			}
			m, n := mustParse(t, "headers").NewMatcher(), 0
			for i, b := range frames {
				want, ok := decoded(b)
				if !ok {
					continue
				}
				n++
				forms := []ring.Frame{frameOf(b), chained(b, 1+i%70)}
				keep := make([]uint32, len(forms))
				m.Apply(forms, keep, unlimited)
				require.Equal(t, []uint32{uint32(want), uint32(want)}, keep, "frame %d %x", i, b[:min(len(b), 120)])
			}
			require.Greater(t, n, len(frames)*9/10)
		})
	}
}

func TestHeadersOfWhatCapturesDoNotHave(t *testing.T) {
	eth := func(typ ...byte) []byte { return slices.Concat(make([]byte, 12), typ) }
	ip4 := func(proto byte) []byte {
		return slices.Concat([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto}, make([]byte, 10))
	}
	ip6 := func(next byte) []byte { return slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, next, 64}, make([]byte, 32)) }
	for _, c := range []struct {
		name string
		head []byte
		more int
	}{
		{"SCTP's common header", slices.Concat(eth(8, 0), ip4(132)), 12},
		{"an unknown protocol: IP's", slices.Concat(eth(8, 0), ip4(89)), 0},
		{"IPv6 with hop-by-hop, routing and authentication before UDP", slices.Concat(eth(0x86, 0xdd), ip6(0), []byte{43, 1}, make([]byte, 14), []byte{51, 0}, make([]byte, 6), []byte{17, 2}, make([]byte, 14)), 8},
		{"a first fragment has a header of layer 4", slices.Concat(eth(0x86, 0xdd), ip6(44), []byte{17, 0, 0, 1, 1, 2, 3, 4}), 8},
		{"a later fragment has no header of layer 4", slices.Concat(eth(0x86, 0xdd), ip6(44), []byte{17, 0, 0, 8, 1, 2, 3, 4}), 0},
		{"two labels before IPv6 and ICMPv6", slices.Concat(eth(0x88, 0x47), []byte{0, 1, 0, 64, 0, 1, 1, 64}, ip6(58)), 8},
		{"a label before something else", slices.Concat(eth(0x88, 0x48), []byte{0, 1, 1, 64}), 0},
		{"an unknown type: Ethernet's", eth(0x88, 0xcc), 0},
		{"TCP that claims less than 20 bytes", slices.Concat(eth(8, 0), ip4(6)), 20},
		{"tags without end", bytes.Repeat([]byte{0x81, 0, 0, 1}, 3), 500 - 12},
	} {
		b := slices.Concat(c.head, make([]byte, 500-len(c.head)))
		if c.name == "tags without end" {
			b = bytes.Repeat([]byte{0x81, 0, 0x81, 0}, 125)
		}
		require.Equal(t, len(c.head)+c.more, headerBytes(b), c.name)
		for n := range len(b) {
			require.LessOrEqual(t, headerBytes(b[:n]), n)
		}
	}
}

// first applies the rules one by one; it returns Len if none matches.
func (r *Rules) first(b []byte, wireLen int) int {
	i := slices.IndexFunc(r.rules, func(ru rule) bool { return ru.filter.Match(b, wireLen) })
	if i < 0 {
		return r.Len()
	}
	return i
}

// bytes is how much of a frame an action keeps: Drop, or at least 1 byte.
func (a action) bytes(f *ring.Frame, m *Matcher) uint32 {
	switch a {
	case drop:
		return Drop
	case headers:
		a = action(m.headerBytes(f))
	}
	return max(1, min(uint32(a), f.Len))
}

func TestBatchesAreDividedAsEachFilterSays(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	bytes := mutants(sample(readCapture(t, hosts), 1000), rnd)
	bytes = mutants(append(bytes, bytes...), rnd)
	e := &expressions{rnd: rnd, frames: bytes}
	frames := make([]ring.Frame, len(bytes))
	for i, b := range bytes {
		frames[i] = frameOf(b)
	}
	keep, matched := make([]uint32, len(frames)), 0
	for range 600 {
		r, err := Parse("(" + e.match() + ") all; (" + e.any(2) + ") 20; drop")
		if err != nil {
			continue
		}
		m := r.NewMatcher()
		m.Apply(frames, keep, unlimited)
		for i, b := range bytes {
			want := r.action(r.first(b, len(b))).bytes(&frames[i], m)
			require.Equal(t, want, keep[i], "%v: %x", r, b)
		}
		if m.Hits()[0].Frames > 0 {
			matched++
		}
	}
	require.Greater(t, matched, 100, "lists whose first rule matches")
}

func TestAssemblyPreparesAsGo(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		frames := make([]ring.Frame, rnd.IntN(65))
		for i := range frames {
			f := &frames[i]
			f.Data, f.Len = make([]byte, rnd.IntN(3)), rnd.Uint32()>>rnd.IntN(33)
			switch rnd.IntN(200) {
			case 0:
				f.Rest = [][]byte{{}}
			case 1:
				f.Info = ring.Stripped
			default:
				f.Info, f.VLAN = ring.Info(rnd.Uint32())&^ring.Stripped, uint16(rnd.Uint32())
			}
		}
		most := rnd.Uint32() >> rnd.IntN(32)
		fast, slow := make([]uint32, len(frames)+1), make([]uint32, len(frames)+1)
		bytes, plain := prepare(frames, fast[:len(frames)], most)
		wantBytes, wantPlain := prepareGo(frames, slow[:len(frames)], most)
		require.Equal(t, wantBytes, bytes)
		require.Equal(t, wantPlain, plain)
		require.Equal(t, slow, fast)
	}
}

func TestLongBatchesAreDecidedInParts(t *testing.T) {
	m := mustParse(t, "(udp port 53) drop; (udp port 54) 50; all").NewMatcher()
	rnd := rand.New(rand.NewPCG(9, 9))
	for round := range 300 {
		frames, keep := make([]ring.Frame, rnd.IntN(300)), make([]uint32, 300)
		var total uint64
		for i := range frames {
			port := uint16(80)
			if rnd.IntN(1+round) == 0 {
				port = 53 + uint16(rnd.IntN(2))
			}
			frames[i] = frameOf(udp(t, 60+rnd.IntN(100), port))
			total += uint64(frames[i].Len)
		}
		for _, most := range []uint32{unlimited, 90} {
			bytes, dropped := m.Apply(frames, keep, most)
			require.Equal(t, total, bytes)
			for i, f := range frames {
				want := min(f.Len, most)
				switch f.Data[37] {
				case 53:
					dropped--
					want = Drop
				case 54:
					want = 50
				}
				require.Equal(t, want, keep[i])
			}
			require.Zero(t, dropped)
		}
	}
}

func TestApplyDoesNotAllocate(t *testing.T) {
	r := mustParse(t, "(vlan 5 and net 2001:db8::/32) 70; (not udp and portrange 1-100) drop; (mpls and ip6) 1; headers")
	var frames []ring.Frame
	for i, b := range sample(readCapture(t, hosts), 100) {
		frames = append(frames, frameOf(b), chained(b, 1+i))
		if f, ok := stripped(b); ok {
			frames = append(frames, f)
		}
	}
	m, keep := r.NewMatcher(), make([]uint32, len(frames))
	require.Zero(t, testing.AllocsPerRun(20, func() { m.Apply(frames, keep, unlimited) }))
}

func FuzzApply(f *testing.F) {
	rnd := rand.New(rand.NewPCG(5, 6))
	all := mutants(sample(readCapture(f, hosts), 200), rnd)
	for i, rules := range []string{
		"(udp and port 53) all; (net 192.0.2.0/24 and tcp) 96; (vlan 5) drop; 128",
		"(vlan and vlan and mpls and not port 80) headers; (not host 2001:db8::1) 9; drop",
		"(mpls and mpls 16 and host 192.0.2.1) headers; (ether proto 6) all; (src portrange 5-9999) headers; headers",
		"(tcp[13] & 2 != 0 or (udp and not port 53)) headers; (len < 100 and not (vlan 5 or ip6)) 9; (ether[150] = 3) drop",
		"(icmp6) 1; (sctp) 2; (proto 44) 3; (ether src host 2:0:0:0:0:1) 4; (arp) headers",
	} {
		for _, b := range all[i*20 : i*20+20] {
			f.Add(rules, b, uint16(i*1000), byte(i), byte(17*i))
		}
	}
	f.Fuzz(func(t *testing.T, text string, b []byte, tag uint16, info, size byte) {
		r, err := Parse(text)
		if err != nil || len(b) == 0 {
			return
		}
		frames := []ring.Frame{frameOf(b), chained(b, max(1, int(size))), frameOf(b)}
		frames[2].VLAN, frames[2].Info = tag, ring.Info(info)
		m, keep := r.NewMatcher(), make([]uint32, 3)
		m.Apply(frames, keep, unlimited)
		var sum Hits
		for _, h := range m.Hits() {
			sum.Frames += h.Frames
			sum.Bytes += h.Bytes
		}
		require.Equal(t, Hits{3, 3 * uint64(len(b))}, sum)
		for _, k := range keep {
			require.LessOrEqual(t, k, uint32(len(b)))
		}
		// The rules one by one.
		want := r.action(r.first(b, len(b))).bytes(&frames[0], m)
		require.Equal(t, want, keep[0])
		if want <= headerReach && len(b) <= headerReach {
			require.Equal(t, want, keep[1], "in pieces")
		}
		if tagged := ring.Stripped | ring.HasVLAN; frames[2].Info&tagged == tagged && len(b) >= 12 {
			whole := slices.Concat(b[:12], []byte{0x81, 0, byte(tag >> 8), byte(tag)}, b[12:])
			require.Equal(t, r.action(r.first(whole, len(whole))).bytes(&frames[2], m), keep[2], "with its tag")
		}
	})
}

func BenchmarkApply(b *testing.B) {
	for _, kind := range []struct {
		name string
		rule func(i int) string
	}{
		{"port", func(i int) string { return fmt.Sprintf("(udp and port %d) 96", 2000+i) }},
		{"net", func(i int) string { return fmt.Sprintf("(src net 10.%d.0.0/16) 96", 100+i) }},
		{"range", func(i int) string { return fmt.Sprintf("(dst portrange %d-%d) 96", 2000+i, 3000+i) }},
		{"net6", func(i int) string { return fmt.Sprintf("(net 2001:db8:%x::/48) 96", i) }},
	} {
		for _, n := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/rules=%d", kind.name, n), func(b *testing.B) {
				text := ""
				for i := range n {
					text += kind.rule(i) + ";"
				}
				r := mustParse(b, text)
				frames := make([]ring.Frame, 64)
				for i := range frames {
					frames[i] = frameOf(udp(b, 60, uint16(i)))
				}
				m, keep := r.NewMatcher(), make([]uint32, len(frames))
				b.ResetTimer()
				for n := 0; n < b.N; n += len(frames) {
					m.Apply(frames, keep, unlimited)
				}
				require.Zero(b, m.Hits()[0].Frames, "no rule matches, so that all are tested")
			})
		}
	}
}

// A packet inside a frame is found as well where the frame lies in several buffers, or
// without the tag that the device took out.
func TestRulesLookInsideFramesInAnyForm(t *testing.T) {
	tcp := []byte{0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2,
		0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 2, 4, 0, 0, 0, 0, 0}
	addresses := []byte{0, 0x1b, 0x21, 0x3c, 0x9d, 0xf8, 2, 0, 0x5e, 0x10, 0, 1}
	ipip := append([]byte{0x45, 0, 0, 60, 0, 1, 0, 0, 64, 4, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, tcp...)
	tag := []byte{0x81, 0, 0, 5}
	ip := []byte{8, 0}
	plain := slices.Concat(addresses, ip, tcp)
	tagged := slices.Concat(addresses, tag, ip, tcp)
	tunnel := slices.Concat(addresses, ip, ipip)
	both := slices.Concat(addresses, tag, ip, ipip)
	m := mustParse(t, "(inner (tcp port 80 and ip src 192.0.2.1)) 20; (host 192.0.2.1) 10; drop").NewMatcher()
	for name, c := range map[string]struct {
		frame []byte
		want  uint32
	}{"plain": {plain, 10}, "tagged": {tagged, 20}, "tunnel": {tunnel, 20}, "both": {both, 20}, "cut": {tunnel[:40], Drop}} {
		forms := []ring.Frame{frameOf(c.frame)}
		for size := 1; size < 70; size += 7 {
			forms = append(forms, chained(c.frame, size))
		}
		if s, ok := stripped(c.frame); ok {
			forms = append(forms, s)
		}
		keep := make([]uint32, len(forms))
		m.Apply(forms, keep, unlimited)
		for i, k := range keep {
			require.Equal(t, c.want, k, "%s, form %d", name, i)
		}
	}
}

package pcapfilter

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nest builds frames from the inside to the outside: each call puts a header before
// what is there.
type nest []byte

func (n nest) before(header packet) nest { return append(bytes.Clone(header), n...) }

func (n nest) ip4(proto byte, src, dst uint32) nest {
	h := packet{}.u8(0x45, 0).u16(uint16(20+len(n)), 7, 0).u8(64, proto).u16(0).u32(src, dst)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(h[i])<<8 | uint32(h[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	h[10], h[11] = byte(^sum>>8), byte(^sum)
	return n.before(h)
}

func (n nest) ip6(proto byte, src, dst byte) nest {
	return n.before(packet{}.u32(0x60000000).u16(uint16(len(n))).u8(proto, 64).u32(0x20010db8, 0, 0, uint32(src)).u32(0x20010db8, 0, 0, uint32(dst)))
}

func (n nest) udp(src, dst uint16) nest { return n.before(packet{}.u16(src, dst, uint16(8+len(n)), 0)) }

func (n nest) ethernet(kind uint16) nest { return n.before(ethernet(kind)) }

// isIPv6 reports the version of a packet of IP.
func (n nest) isIPv6() bool { return n[0]>>4 == 6 }

func (n nest) kind() uint16 {
	if n.isIPv6() {
		return 0x86dd
	}
	return 0x0800
}

// tunnelled puts a packet of IP into a random tunnel, which is a packet of IP.
func (n nest) tunnelled(a author) nest {
	framed := func() nest { return n.ethernet(n.kind()) }
	in := func(n nest, proto byte) nest {
		if a.IntN(3) == 0 {
			n = n.before(packet{}.u8(proto, 0, 1, 4, 0, 0, 0, 0)) // an extension header
			return n.ip6(60, byte(10+a.IntN(5)), byte(10+a.IntN(5)))
		}
		return n.ip4(proto, 0x0a000000+uint32(a.IntN(5)), 0x0a000000+uint32(a.IntN(5)))
	}
	switch a.IntN(9) {
	case 0:
		return in(n, map[bool]byte{false: 4, true: 41}[n.isIPv6()])
	case 1:
		return in(n.before(packet{}.u16(0, n.kind())), 47)
	case 2: // checksum, key and sequence number
		return in(n.before(packet{}.u16(0xb000, n.kind()).u32(0, 77, 5)), 47)
	case 3:
		return in(framed().before(packet{}.u16(0x2000, 0x6558).u32(77)), 47)
	case 4: // ERSPAN type II
		return in(framed().before(packet{}.u16(0x1000, 0x88be).u32(5).u16(0x1000, 1).u32(0)), 47)
	case 5:
		return in(framed().before(packet{}.u32(0x08000000, 0x700)).udp(40000, 4789), 17)
	case 6:
		p := framed()
		kind := uint16(0x6558)
		if a.IntN(2) == 0 {
			p, kind = n, n.kind()
		}
		words := a.IntN(3)
		options := packet{}
		if words > 0 { // one, of a class that is not assigned
			options = options.u16(0xffff).u8(1, byte(words-1)).u32(make([]uint32, words-1)...)
		}
		return in(p.before(append(packet{}.u8(byte(words), 0).u16(kind).u32(0x700), options...)).udp(40000, 6081), 17)
	case 7:
		return in(n.before(packet{}.u8(0x30, 255).u16(uint16(len(n))).u32(0x1234)).udp(2152, 2152), 17)
	default: // with an extension header: the session container
		return in(n.before(packet{}.u8(0x34, 255).u16(uint16(len(n)+8)).u32(0x1234).u16(0).u8(0, 0x85).u8(1, 0x10, 5, 0)).udp(2152, 2152), 17)
	}
}

// frame puts a packet of IP into a frame, with tags, labels or a session or without.
func (n nest) frame(a author) nest {
	kind := n.kind()
	switch a.IntN(5) {
	case 0:
		n = n.before(packet{}.label(uint32(16+a.IntN(5)), 1))
		if a.IntN(2) == 0 {
			n = n.before(packet{}.label(100, 0))
		}
		kind = 0x8847
	case 1:
		n = n.before(packet{}.u8(0x11, 0).u16(7, uint16(len(n)+2)).u16(map[bool]uint16{false: 0x21, true: 0x57}[n.isIPv6()]))
		kind = 0x8864
	}
	for range a.IntN(3) {
		n = n.before(packet{}.u16(uint16(5+a.IntN(3)), kind))
		kind = 0x8100
	}
	return n.ethernet(kind)
}

// nested is a frame with so many tunnels at most.
func (a author) nested(tunnels int) nest {
	port := func() uint16 { return pick[uint16](a, 53, 80, 22, 443) }
	n := nest(packet{}.tcp(port(), port(), 2))
	if a.IntN(3) == 0 {
		n = n.ip6(6, byte(1+a.IntN(4)), byte(1+a.IntN(4)))
	} else {
		n = n.ip4(6, pick[uint32](a, host1, host2, host3), pick[uint32](a, host1, host2, host3))
	}
	for range a.IntN(tunnels + 1) {
		n = n.tunnelled(a)
	}
	return n.frame(a)
}

// tshark lists fields of the frames of a pcap file, of all layers from the outside to
// the inside.
func tshark(t *testing.T, frames []testFrame, fields ...string) [][][]string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark, whose dissection is what inner is compared with: make tools installs it")
	}
	file := filepath.Join(t.TempDir(), "nested.pcap")
	writePcap(t, file, frames)
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=,", "-o", "ip.defragment:FALSE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command(path, args...).Output()
	require.NoError(t, err)
	var rows [][][]string
	for line := range strings.Lines(string(out)) {
		var row [][]string
		for _, cell := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			row = append(row, strings.FieldsFunc(cell, func(r rune) bool { return r == ',' }))
		}
		rows = append(rows, row)
	}
	require.Len(t, rows, len(frames))
	return rows
}

func TestInnerMatchesWhatTsharkFindsInside(t *testing.T) {
	a := author{rand.New(rand.NewPCG(61, 62))}
	var frames []testFrame
	for range 2000 / thin {
		n := a.nested(3)
		frames = append(frames, testFrame{n, len(n)})
	}
	rows := tshark(t, frames, "frame.protocols", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.dstport", "eth.dst", "vlan.id")
	// Expressions with the column of the field, and its value.
	checks := map[string]struct {
		column int
		value  string
	}{
		"src host 192.0.2.1":          {1, "192.0.2.1"},
		"ip src 10.0.0.3":             {1, "10.0.0.3"},
		"dst host 10.1.2.3":           {2, "10.1.2.3"},
		"ip6 src 2001:db8::2":         {3, "2001:db8::2"},
		"dst 2001:db8::b":             {4, "2001:db8::b"},
		"tcp src port 53":             {5, "53"},
		"tcp[2:2] = 443":              {6, "443"},
		"udp dst port 4789":           {7, "4789"},
		"udp dst port 2152":           {7, "2152"},
		"ether dst 00:1b:21:3c:9d:f8": {8, "00:1b:21:3c:9d:f8"},
	}
	matched := map[string]int{}
	for expr, check := range checks {
		in, err := Compile("inner (" + expr + ")")
		require.NoError(t, err)
		for i, f := range frames {
			row := rows[i]
			// The outermost layer is not inside, unless a header of encapsulation
			// precedes it.
			values := row[check.column]
			protocols := strings.Split(row[0][0], ":")
			first := slices.IndexFunc(protocols, func(p string) bool { return p == "ip" || p == "ipv6" })
			if check.column == 7 && slices.Contains(protocols, "ipv6.dstopts") {
				continue // ports behind extension headers are not read
			}
			before := slices.ContainsFunc(protocols[:first], func(p string) bool { return p == "vlan" || p == "mpls" || p == "pppoes" })
			outer := protocols[first]
			tagged := slices.Contains(protocols[:first], "vlan")
			switch name := strings.Fields(expr)[0]; {
			case name == "ether" && !tagged, !before && check.column < 5 && (check.column < 3) == (outer == "ip"):
				values = values[1:]
			case !before && check.column >= 5 && check.column <= 7 && first+1 < len(protocols):
				transport := slices.IndexFunc(protocols[first+1:], func(p string) bool { return p == "ip" || p == "ipv6" })
				own := protocols[first+1:]
				if transport >= 0 {
					own = own[:transport]
				}
				if slices.Contains(own, map[bool]string{false: "tcp", true: "udp"}[check.column == 7]) {
					values = values[1:]
				}
			}
			want := slices.Contains(values, check.value)
			if strings.HasPrefix(expr, "tcp[") && want && !slices.Contains(row[1], "192.0.2.1") && !slices.Contains(row[1], "198.51.100.2") && !slices.Contains(row[1], "10.1.2.3") {
				want = false // tcp[...] is of IPv4
			}
			require.Equal(t, want, in.Match(f.data, f.wire), "inner (%s): %v\n%s", expr, row, hex.Dump(f.data))
			if want {
				matched[expr]++
			}
		}
	}
	for expr := range checks {
		require.NotZero(t, matched[expr], expr)
	}
}

// An encapsulation of each kind around one packet.
func encapsulations() map[string]packet {
	tcp4 := nest(packet{}.tcp(40000, 80, 2)).ip4(6, host1, host2)
	tcp6 := nest(packet{}.tcp(40000, 80, 2)).ip6(6, 1, 2)
	frame := tcp4.ethernet(0x800)
	out := func(n nest, proto byte) packet { return packet(n.ip4(proto, host3, host3+1).ethernet(0x800)) }
	return map[string]packet{
		"vlan":    packet(tcp4.before(packet{}.u16(5, 0x800)).ethernet(0x8100)),
		"qinq":    packet(tcp4.before(packet{}.u16(100, 0x8100, 5, 0x800)).ethernet(0x88a8)),
		"four":    packet(tcp4.before(packet{}.u16(1, 0x9100, 2, 0x88a8, 3, 0x8100, 5, 0x800)).ethernet(0x8100)),
		"mpls":    packet(tcp4.before(packet{}.label(9, 0).label(10, 1)).ethernet(0x8847)),
		"mpls6":   packet(tcp6.before(packet{}.label(10, 1)).ethernet(0x8848)),
		"wire":    packet(frame.before(packet{}.label(10, 1).u32(0)).ethernet(0x8847)),                  // a pseudowire
		"wire-":   packet(append(nest{2}, frame[1:]...).before(packet{}.label(10, 1)).ethernet(0x8847)), // without a control word
		"pppoe":   packet(tcp4.before(packet{}.u8(0x11, 0).u16(7, 60, 0x21)).ethernet(0x8864)),
		"pppoem":  packet(tcp4.before(packet{}.u8(0x11, 0).u16(7, 60, 0x281).label(5, 1)).ethernet(0x8864)),
		"ipip":    out(tcp4, 4),
		"sit":     out(tcp6, 41),
		"mplsip":  out(tcp4.before(packet{}.label(10, 1)), 137),
		"ah":      out(tcp4.before(packet{}.u8(4, 1, 0, 0).u32(1, 2)), 51),
		"gre":     out(tcp4.before(packet{}.u16(0, 0x800)), 47),
		"gretap":  out(frame.before(packet{}.u16(0x3000, 0x6558).u32(1, 2)), 47),
		"grempls": out(tcp4.before(packet{}.u16(0, 0x8847).label(7, 1)), 47),
		"erspan1": out(frame.before(packet{}.u16(0, 0x88be)), 47),
		"erspan2": out(frame.before(packet{}.u16(0x1000, 0x88be).u32(1, 0x10010001, 0)), 47),
		"erspan3": out(frame.before(packet{}.u16(0x1000, 0x22eb).u32(1, 0x20010001, 0, 0)), 47),
		"erspan+": out(frame.before(packet{}.u16(0x1000, 0x22eb).u32(1, 0x20010001, 0, 1, 0, 0)), 47),
		"vxlan":   out(frame.before(packet{}.u32(0x08000000, 0x700)).udp(1, 4789), 17),
		"gbp":     out(frame.before(packet{}.u32(0x88000005, 0x700)).udp(1, 4789), 17),
		"geneve":  out(frame.before(packet{}.u32(0x02006558, 0x700, 1, 2)).udp(1, 6081), 17),
		"geneve4": out(tcp4.before(packet{}.u32(0x00000800, 0x700)).udp(1, 6081), 17),
		"gtp":     out(tcp4.before(packet{}.u8(0x30, 255).u16(60).u32(1)).udp(1, 2152), 17),
		"gtpseq":  out(tcp4.before(packet{}.u8(0x32, 255).u16(60).u32(1, 0x00050000)).udp(1, 2152), 17),
		"gtpext":  out(tcp4.before(packet{}.u8(0x34, 255).u16(60).u32(1, 0x85).u8(1, 0, 0, 0xc0).u8(2, 0, 0, 0, 0, 0, 0, 0)).udp(1, 2152), 17),
	}
}

func TestInnerFindsThePacketBehindEachEncapsulation(t *testing.T) {
	f, err := Compile("inner (tcp dst port 80 and (host 192.0.2.1 or 2001:db8::1))")
	require.NoError(t, err)
	for name, p := range encapsulations() {
		require.True(t, f.Match(p, len(p)), name)
		for cut := range p[:len(p)-18] { // up to the port: nothing is read that is not there
			require.False(t, cut < len(p)-24 && f.Match(p[:cut], len(p)), "%s of %d bytes", name, cut)
		}
	}
	plain := packet(nest(packet{}.tcp(40000, 80, 2)).ip4(6, host1, host2).ethernet(0x800))
	require.False(t, f.Match(plain, len(plain)), "the frame itself is not inside")
}

func TestInnerIsNotFooledByWhatIsNoEncapsulation(t *testing.T) {
	f, err := Compile("inner (ip or ip6 or arp or len > 0)")
	require.NoError(t, err)
	tcp := nest(packet{}.tcp(40000, 80, 2)).ip4(6, host1, host2)
	frame := tcp.ethernet(0x800)
	out := func(n nest, proto byte) packet { return packet(n.ip4(proto, host3, host3+1).ethernet(0x800)) }
	fragment := out(tcp, 4)
	fragment[14+7] = 5
	for name, p := range map[string]packet{
		"another port":               out(frame.before(packet{}.u32(0x08000000, 0x700)).udp(4789, 4790), 17),
		"no network":                 out(frame.before(packet{}.u32(0, 0x700)).udp(1, 4789), 17),
		"another version of Geneve":  out(frame.before(packet{}.u32(0x40006558, 0x700)).udp(1, 6081), 17),
		"another protocol of Geneve": out(frame.before(packet{}.u32(0x000088cc, 0x700)).udp(1, 6081), 17),
		"options beyond the end":     out(frame[:40].before(packet{}.u32(0x3f006558, 0x700)).udp(1, 6081), 17),
		"echo of GTP":                out(tcp.before(packet{}.u8(0x32, 1).u16(4).u32(0, 0)).udp(1, 2152), 17),
		"GTP'":                       out(tcp.before(packet{}.u8(0x20, 255).u16(60).u32(1)).udp(1, 2152), 17),
		"an extension of no length":  out(tcp.before(packet{}.u8(0x34, 255).u16(60).u32(1, 0x85).u32(0)).udp(1, 2152), 17),
		"GRE with routing":           out(tcp.before(packet{}.u16(0x4000, 0x800)), 47),
		"GRE of PPTP":                out(tcp.before(packet{}.u16(0x2001, 0x880b).u32(1)), 47),
		"a later fragment":           fragment,
		"a short header":             out(tcp, 4)[:30],
		"an associated channel":      packet(tcp.before(packet{}.label(10, 1).u32(0x10000021)).ethernet(0x8847)),
		"five tags, from the fifth":  packet(tcp.before(packet{}.label(10, 0)).ethernet(0x8847))[:18],
	} {
		require.False(t, f.Match(p, len(p)), name)
	}
}

func TestInnerReadsEachPacketAsAFrame(t *testing.T) {
	all := encapsulations()
	for _, c := range []struct {
		in, expr string
		want     bool
	}{
		{"vlan", "ether host 00:1b:21:3c:9d:f8", true}, // the frame's, read behind the tag
		{"vlan", "vlan", false},
		{"qinq", "vlan 5", true},
		{"qinq", "vlan 100", false}, // the outer tag is the frame's
		{"qinq", "vlan 5 and tcp", true},
		{"four", "vlan 2 and vlan 3 and vlan 5 and tcp", true},
		{"vxlan", "ether dst 00:1b:21:3c:9d:f8 and tcp", true},
		{"gre", "ether dst 00:1b:21:3c:9d:f8", false}, // there is none
		{"gre", "not ether dst 00:1b:21:3c:9d:f8", true},
		{"gre", "ether[0] >= 0", false},
		{"gre", "byte 0 < 255", false},
		{"gre", "broadcast or multicast", false},
		{"gre", "ip multicast", false},
		{"gre", "arp or llc or stp or ipx or iso or pppoed or ether proto 66", false},
		{"gre", "ether proto 0x800", true},
		{"gre", "ip[2:2] = 48 and len = 48", true},
		{"gre", "tcp[tcpflags] = tcp-syn", true},
		{"sit", "ip6 protochain 6", true},
		{"sit", "ip", false},
		{"gretap", "len = 62 and less 62 and greater 62", true},
		{"gretap", "ether[12:2] = 0x800 and ip[12:4] = 0xc0000201", true},
		{"mpls", "host 10.1.2.3", false},
		{"vxlan", "host 10.1.2.3", false},          // the outer address
		{"vxlan", "ether[2000] = 1 or tcp", false}, // ends the packet, not the others
		{"mplsip", "not tcp", false},
	} {
		f, err := Compile("inner (" + c.expr + ")")
		require.NoError(t, err, c.expr)
		require.Equal(t, c.want, f.Match(all[c.in], len(all[c.in])), "%s: %s", c.in, c.expr)
	}
	f, err := Compile("host 192.0.2.1 or inner (host 192.0.2.1)") // wherever it is
	require.NoError(t, err)
	for name, p := range all {
		require.Equal(t, name != "sit" && name != "mpls6", f.Match(p, len(p)), name)
	}
	f, err = Compile("udp port 4789 and not inner (tcp) or inner (vlan 5 and tcp) and not ip")
	require.NoError(t, err)
	for name, p := range all {
		require.Equal(t, name == "qinq" || name == "four", f.Match(p, len(p)), name)
	}
}

func TestInnerGoesSoDeep(t *testing.T) {
	f, err := Compile("inner (tcp)")
	require.NoError(t, err)
	deep := func(tunnels int) packet {
		n := nest(packet{}.tcp(1, 2, 3)).ip4(6, host1, host2)
		for range tunnels {
			n = n.ip4(4, host1, host2)
		}
		return packet(n.ethernet(0x800))
	}
	for tunnels, want := range map[int]bool{0: false, 1: true, maxInside: true, maxInside + 1: false, 3000: false} {
		p := deep(tunnels)
		require.Equal(t, want, f.Match(p, len(p)), tunnels)
	}
	labels := func(n int) packet {
		p := ethernet(0x8847)
		for range n - 1 {
			p = p.label(5, 0)
		}
		return append(p.label(5, 1), nest(packet{}.tcp(1, 2, 3)).ip4(6, host1, host2)...)
	}
	for n, want := range map[int]bool{1: true, 50: true, maxHeaders: false, 3000: false} {
		p := labels(n)
		require.Equal(t, want, f.Match(p, len(p)), n)
	}
	far := nest(packet{}.tcp(1, 2, 3)).ip4(6, host1, host2).before(packet{}.u8(4, 200).u8(make([]byte, 1606)...))
	p := packet(far.ip6(60, 1, 2).ethernet(0x86dd))
	require.False(t, f.Match(p, len(p)), "behind the bytes that are searched")
	require.EqualValues(t, innerReach+14+4*maxTags+41, f.reach)
}

func TestNeedsOfInnerAreNone(t *testing.T) {
	for expr, want := range map[string]string{
		"inner (host 192.0.2.1)":                      "anything",
		"host 192.0.2.1 or inner (host 192.0.2.1)":    "anything",
		"udp port 4789 and inner (tcp port 80)":       "port 4789",
		"not inner (port 80) and src host 192.0.2.1":  "net 192.0.2.1/32",
		"inner (vlan and host 192.0.2.1) and port 53": "port 53",
	} {
		f, err := Compile(expr)
		require.NoError(t, err, expr)
		require.Equal(t, want, f.Needs().String(), expr)
	}
}

// own are expressions that libpcap 1.10 does not have.
var own = lines(`
	inner (tcp port 80)
	not inner (tcp)
	inner (vlan 5 and ip)
	host 192.0.2.1 or inner (host 192.0.2.1)
	inner (not (udp or ip6)) and not vlan
	inner (ether host 00:1b:21:3c:9d:f8) or inner (port 53)
	inner (geneve 7 and tcp) or vxlan
	inner (protochain 17) and greater 100
	inner (tcp[tcpflags] & tcp-syn != 0 and ip[2:2] > 40)
	inner (ether[12:2] = 0x800 or len < 60)
	vxlan 7 and tcp
	vxlan and vlan and geneve and ip6
	vlan and vxlan and ether host 00:1b:21:3c:9d:f8
	geneve and (tcp or udp port 53) and not host 192.0.2.1
	mpls and vxlan and tcp
	byte 12 & 8
	byte 5 | 3
`)

// ownExpr is a random expression, which may be of this package alone.
func (a author) ownExpr(depth int) string {
	switch a.IntN(5) {
	case 0:
		return "inner (" + a.expr(depth) + ")" + a.join() + a.expr(depth)
	case 1:
		return a.expr(depth) + a.join() + "not inner (" + a.expr(depth) + ")"
	case 2:
		return "vxlan and " + a.expr(depth)
	case 3:
		return a.one(own...)
	}
	return a.expr(depth)
}

func TestAllFormsOfOwnExpressionsAgree(t *testing.T) {
	a := author{rand.New(rand.NewPCG(71, 72))}
	exprs := slices.Clone(own)
	for range 300 / thin {
		exprs = append(exprs, a.ownExpr(2))
	}
	var frames []testFrame
	for _, p := range append(tunnelled(), oddFrames()...) {
		frames = append(frames, testFrame{p, len(p)})
	}
	for range 400 / thin {
		n := a.nested(4)
		cut := len(n) - a.IntN(2)*a.IntN(len(n))
		frames = append(frames, testFrame{n[:cut], len(n)})
	}
	frames = append(frames, a.frames(500/thin)...)
	matched, compiled := 0, 0
	for _, e := range exprs {
		f, err := compile(t, e)
		if err != nil {
			continue
		}
		compiled++
		for _, frame := range frames {
			f.same(t, frame)
			if f.Match(frame.data, frame.wire) {
				matched++
				require.True(t, f.Needs().May(look(frame.data).term), "%q needs %s, but matches\n% x", e, f.Needs(), frame.data)
			}
		}
	}
	require.Greater(t, compiled, len(exprs)/3)
	require.Greater(t, matched, 1000/thin)
}

func BenchmarkInner(b *testing.B) {
	all := encapsulations()
	plain := packet(nest(packet{}.tcp(40000, 80, 2)).ip4(6, host1, host2).ethernet(0x800))
	for _, e := range []string{"tcp port 80", "inner (tcp port 80)", "vxlan and tcp port 80"} {
		f, err := Compile(e)
		require.NoError(b, err)
		for name, p := range map[string]packet{"plain": plain, "vlan": all["vlan"], "vxlan": all["vxlan"]} {
			b.Run(fmt.Sprintf("%s/%s", e, name), func(b *testing.B) {
				for b.Loop() {
					f.Match(p, len(p))
				}
			})
		}
	}
}

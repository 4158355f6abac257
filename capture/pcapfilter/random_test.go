package pcapfilter

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// author writes random expressions, most of them valid.
type author struct{ *rand.Rand }

func (a author) one(s ...string) string { return s[a.IntN(len(s))] }

func (a author) words(s string) string { return a.one(strings.Fields(s)...) }

// expr is an expression with so many levels below it.
func (a author) expr(depth int) string {
	if depth == 0 || a.IntN(4) == 0 {
		return a.primitive()
	}
	switch a.IntN(12) {
	case 0:
		return a.one("not ", "! ", "!") + a.expr(depth-1)
	case 1:
		return "(" + a.expr(depth-1) + ")"
	case 2:
		return "not (" + a.expr(depth-1) + ")"
	case 3: // values that take over qualifiers
		return a.primitive() + a.join() + a.value() + a.join() + a.expr(depth-1)
	default:
		return a.expr(depth-1) + a.join() + a.expr(depth-1)
	}
}

func (a author) join() string { return a.one(" and ", " or ", " && ", " || ", " and ", " or ") }

func (a author) primitive() string {
	switch a.IntN(15) {
	case 0, 1:
		return a.words("ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp pim vrrp ah esp stp iso isis ipx llc pppoed broadcast multicast atalk l1 snp")
	case 2, 3, 4:
		return a.one("", "", "ip ", "tcp ", "udp ", "arp ", "ip6 ", "ether ", "sctp ") +
			a.one("", "src ", "dst ", "src or dst ", "src and dst ") + a.one("host ", "net ", "port ", "portrange ", "", "proto ") + a.id(2)
	case 5:
		return a.one("host ", "src net ", "dst host ") + a.words("192.0.2.1 198.51.100.2 10.1.2.3 10 192.0.2 2001:db8::1 2001:db8::2")
	case 6:
		return a.one("port ", "tcp port ", "udp dst port ") + a.words("53 80 443 5060 http domain 22")
	case 7:
		return a.words("vlan vlan mpls pppoes") + a.one("", "", " 5", " 100", " 1024", " 7", " (5)")
	case 8:
		return a.words("less greater") + " " + strconv.Itoa(a.IntN(200))
	case 9:
		return a.one("ip proto ", "ip6 proto ", "proto ", "ether proto ", "iso proto ") + a.id(1)
	case 10:
		return a.one("ip ", "ip6 ", "ether ", "", "arp ") + a.one("broadcast", "multicast")
	case 11:
		return a.one("geneve", "geneve 7", "geneve", "protochain 6", `ip6 protochain \udp`, "protochain 60", "ip protochain 51", "protochain 6 or 17", "decnet host 10.15",
			"decnet src 10.15 or 63.1023", "byte 12 = 8", "byte 13 > 5", "byte 0 < 2")
	default:
		return a.arith(2) + a.one(" = ", " != ", " > ", " < ", " >= ", " <= ", "==") + a.arith(1)
	}
}

func (a author) id(depth int) string {
	if depth > 0 {
		switch a.IntN(6) {
		case 0:
			return "(" + a.value() + a.join() + a.id(depth-1) + ")"
		case 1:
			return a.one("not ", "(") + a.value()
		case 2:
			return "(" + a.value() + ")"
		}
	}
	return a.value()
}

func (a author) value() string {
	return a.one("192.0.2.1", "198.51.100.2", "10.1.2.3", "10.0.0.0/8", "192.0.2", "10.1", "10", "80", "53", "443", "6", "17", "0x800", "2048",
		"2001:db8::1", "2001:db8::2", "2001:db8::/32", "::/0", "00:1b:21:3c:9d:f8", "02:00:5e:10:00:01", "http", "domain", "50-100", "80-http",
		`\tcp`, `\udp`, `\ip`, `\arp`, "ospf", "192.0.2.0 mask 255.255.255.0", "131", "0", "65535", "65536")
}

func (a author) arith(depth int) string {
	if depth == 0 || a.IntN(3) == 0 {
		switch a.IntN(8) {
		case 0:
			return "len"
		case 1, 2:
			return a.one("0", "1", "2", "4", "5", "14", "0x40", "0xf", "69", "80", "255", "0x800", "65535", "4294967295", "tcp-syn", "icmp-echo", "017")
		default:
			return a.words("ether ip ip6 tcp udp icmp icmp6 arp sctp ip tcp ether") + "[" + a.index(depth) + a.one("", "", ":1", ":2", ":4") + "]"
		}
	}
	switch a.IntN(10) {
	case 0:
		return "-" + a.arith(depth-1)
	case 1, 2:
		return "(" + a.arith(depth-1) + ")"
	default:
		return a.arith(depth-1) + a.one(" + ", " - ", " * ", " / ", " % ", " & ", " | ", " ^ ", " << ", " >> ") + a.arith(depth-1)
	}
}

func (a author) index(depth int) string {
	if depth > 0 && a.IntN(6) == 0 {
		return a.arith(depth - 1)
	}
	return strconv.Itoa(a.IntN(48))
}

// frames returns n frames of all kinds that filters read, half of them with bytes
// changed or cut off.
func (a author) frames(n int) []testFrame {
	out := make([]testFrame, n)
	for i := range out {
		p := a.frame()
		f := testFrame{p, len(p)}
		switch a.IntN(4) {
		case 0:
			for range 1 + a.IntN(4) {
				p[a.IntN(min(len(p), 64))] = byte(a.IntN(256))
			}
		case 1:
			n := a.IntN(len(p))
			f.data = p[:n:n]
		}
		out[i] = f
	}
	return out
}

func pick[T any](a author, of ...T) T { return of[a.IntN(len(of))] }

func (a author) frame() packet {
	if a.IntN(8) == 0 {
		p := pick(a, tunnels()...)
		return append(packet{}, p...)
	}
	p := ethernet(0)[:12]
	switch a.IntN(6) {
	case 0:
		copy(p, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	case 1:
		p[0] = 1
	}
	for a.IntN(3) == 0 {
		p = p.u16(pick[uint16](a, ether.TypeVLAN, ether.TypeVLAN, ether.TypeQinQ, ether.TypeQinQOld), pick[uint16](a, 5, 12, 100, 0x6005, uint16(a.IntN(1<<16))))
	}
	switch a.IntN(10) {
	case 0:
		p = p.u16(ether.TypeMPLS)
		for a.IntN(2) == 0 {
			p = p.label(pick[uint32](a, 5, 1024, 100000), 0)
		}
		return pick(a, packet.randomIP4, packet.randomIP6)(p.label(pick[uint32](a, 5, 1024, 100000), 1), a)
	case 1:
		p = p.u16(ether.TypePPPoES).u8(0x11, 0).u16(pick[uint16](a, 5, 7, 100), 60)
		switch a.IntN(4) {
		case 0:
			return p.u16(0xc021).u32(0x09010008, 1)
		case 1:
			return p.u16(0x0057).randomIP6(a)
		default:
			return p.u16(0x0021).randomIP4(a)
		}
	case 2:
		return p.u16(pick[uint16](a, ether.TypeARP, ether.TypeARP, ether.TypeRARP)).arp(uint16(a.IntN(5)), a.host(), a.host())
	case 3: // LLC
		sap := pick[byte](a, sapSTP, sapISO, sapIPX, sapNetBEUI, sapSNAP, 0xff, 0x10)
		return p.u16(uint16(a.IntN(1600))).u8(sap, sap, pick[byte](a, 3, 1, 2, 0x7f, osiISIS), pick[byte](a, osiCLNP, osiESIS, osiISIS)).u32(a.Uint32(), a.Uint32(), a.Uint32())
	case 4:
		return p.u16(pick[uint16](a, ether.TypePPPoED, typeIPX, typeATalk, typeAARP, typeDECnet, 0x88cc, uint16(a.IntN(1<<16)))).u32(a.Uint32(), a.Uint32(), a.Uint32(), a.Uint32())
	case 5, 6:
		return p.u16(ether.TypeIPv6).randomIP6(a)
	default:
		return p.u16(ether.TypeIPv4).randomIP4(a)
	}
}

// tunnels are tunnelled and frames with chains of headers and DECnet, made once.
var tunnels = sync.OnceValue(func() []packet {
	odd := oddFrames()
	return append(tunnelled(), odd[len(odd)-7:]...)
})

func (a author) host() uint32 {
	return pick(a, host1, host2, host3, 0x0a000000|a.Uint32()>>8, 0xffffffff, 0xe00000fb, a.Uint32())
}

func (a author) port() uint16 {
	return pick[uint16](a, 53, 80, 443, 22, 5060, uint16(a.IntN(1<<16)))
}

func (p packet) randomIP4(a author) packet {
	proto := pick[byte](a, ether.ProtoTCP, ether.ProtoTCP, ether.ProtoUDP, ether.ProtoUDP, ether.ProtoSCTP, ether.ProtoICMP, ether.ProtoPIM, byte(a.IntN(256)))
	words := pick[byte](a, 5, 5, 5, 6, 15, byte(a.IntN(5)))
	return p.ip4(words, proto, pick[uint16](a, 0, 0, 0x4000, 0x2000, uint16(a.IntN(1<<16))), a.host(), a.host()).random(a, proto)
}

func (p packet) randomIP6(a author) packet {
	proto := pick[byte](a, ether.ProtoTCP, ether.ProtoTCP, ether.ProtoUDP, ether.ProtoSCTP, ether.ProtoICMPv6, ether.ProtoFragment, 0, byte(a.IntN(256)))
	p = p.ip6(proto, byte(a.IntN(4)), byte(a.IntN(4)))
	if proto == ether.ProtoFragment || proto == 0 {
		p = p.u8(pick[byte](a, ether.ProtoTCP, ether.ProtoUDP, ether.ProtoFragment, ether.ProtoESP), 0).u16(uint16(a.IntN(3))).u32(a.Uint32())
	}
	return p.random(a, proto)
}

// random appends the header of a protocol, or something.
func (p packet) random(a author, proto byte) packet {
	switch proto {
	case ether.ProtoTCP:
		return p.tcp(a.port(), a.port(), byte(a.IntN(256)))
	case ether.ProtoUDP, ether.ProtoSCTP:
		return p.udp(a.port(), a.port())
	}
	return p.u8(pick[byte](a, 0, 3, 8, 128, 135, byte(a.IntN(256))), byte(a.IntN(5))).u16(a.port()).u32(a.Uint32(), a.Uint32(), a.Uint32())
}

// libpcapMistakes are errors that libpcap also reports where the first number of the
// right side is no divisor or shift, but the index of a load: it takes ip[2:2] / ip[0]
// for a division by zero. There is no program to compare with then.
func libpcapMistakes(message string) bool {
	return strings.HasSuffix(message, "division by zero") || strings.HasSuffix(message, "modulus by zero") ||
		strings.HasSuffix(message, "shift by more than 31 bits")
}

// search is how many random expressions a test makes, and from which seed. For a longer
// search, PCAPFILTER_RANDOM is COUNT,SEED.
func search(t *testing.T, count int) (int, uint64) {
	seed := uint64(1)
	if s := os.Getenv("PCAPFILTER_RANDOM"); s != "" {
		_, err := fmt.Sscanf(s, "%d,%d", &count, &seed)
		require.NoError(t, err)
	}
	return count, seed
}

// ownRefusal reports whether an error is of what libpcap compiles and this package
// refuses: a shift by a number below 0, which libpcap takes as it is; what stands
// behind a tunnel that may not be there, where its program reads what it has not set;
// numbers that no header can hold.
func ownRefusal(err error) bool {
	for _, what := range []string{"shift by more than 31", "moves all that stands to its right", "behind 2 tunnels", "protochain behind geneve",
		"numbers of protocols go up to 255", "decnet host", "DECnet has no networks"} {
		if strings.Contains(err.Error(), what) {
			return true
		}
	}
	return false
}

// refusedBoth reports whether an expression is refused, by libpcap and by this package.
// One that matches no frame is not.
func refusedBoth(o oracle, err error) (theirs, ours bool) {
	theirs = o.err != "" && !strings.Contains(o.err, rejectsAll)
	return theirs, err != nil && !strings.Contains(err.Error(), matchesNone)
}

// soup writes words of the language in any order, and expressions with a few words put
// in, taken out or exchanged.
func (a author) soup() string {
	words := strings.Fields(`src dst and or and or not ! ( ) host net port portrange proto ip ip6 tcp udp arp ether decnet protochain
		broadcast multicast gateway less greater byte vlan mpls pppoes geneve llc len mask = < > & + - [ ] [0] [0:2] / 80 53 6 0x800 300
		192.0.2.1 192.0.2.0/24 10.15 2001:db8::1 00:1b:21:3c:9d:f8 http 50-60 \tcp i iso isis stp icmp sctp proto host port`)
	var e []string
	switch a.IntN(3) {
	case 0:
		for range 1 + a.IntN(7) {
			e = append(e, a.one(words...))
		}
		return strings.Join(e, " ")
	case 1: // qualifiers
		for range 1 + a.IntN(8) {
			e = append(e, a.words("src dst and or src dst or and host port net tcp ip proto"))
		}
		return strings.Join(append(e, a.words("53 192.0.2.1 host and")), " ")
	}
	e = strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(a.expr(2)))
	for range 1 + a.IntN(2) {
		i := a.IntN(len(e))
		switch a.IntN(3) {
		case 0:
			e = slices.Delete(e, i, i+1)
		case 1:
			e[i] = a.one(words...)
		default:
			e = slices.Insert(e, i, a.one(words...))
		}
		if len(e) == 0 {
			e = []string{"tcp"}
		}
	}
	return strings.Join(e, " ")
}

func TestRefusesAndCompilesWhatLibpcapDoes(t *testing.T) {
	count, seed := search(t, 300)
	a := author{rand.New(rand.NewPCG(seed, 9))}
	var exprs []string
	for range count {
		exprs = append(exprs, a.soup())
	}
	good := 0
	for i, o := range ask(t, exprs) {
		_, err := Compile(exprs[i])
		theirs, ours := refusedBoth(o, err)
		if !theirs {
			good++
		}
		if libpcapMistakes(o.err) || err != nil && ownRefusal(err) || strings.Contains(o.err, "unknown") && err != nil {
			continue
		}
		require.Equal(t, theirs, ours, "%q: libpcap: %s; here: %v", exprs[i], o.err, err)
	}
	require.Greater(t, good, count/50)
	require.Less(t, good, count/2)
}

func TestAgreesWithLibpcapOnRandomExpressions(t *testing.T) {
	count, seed := search(t, 4400/stride)
	a := author{rand.New(rand.NewPCG(seed, 5))}
	var exprs []string
	for range count {
		exprs = append(exprs, a.expr(3))
	}
	oracles := ask(t, exprs)
	frames := append(sample(t, 20*stride), a.frames(2000/thin)...)
	var n tally
	good, none := 0, 0
	for i, e := range exprs {
		o := oracles[i]
		f, err := Compile(e)
		if libpcapMistakes(o.err) && err == nil {
			continue
		}
		if o.err != "" && !strings.Contains(o.err, rejectsAll) {
			require.Error(t, err, "%q: libpcap: %s", e, o.err)
			continue
		}
		if err != nil && ownRefusal(err) {
			continue
		}
		if mpls := strings.Index(e, "mpls"); mpls >= 0 && mpls < strings.LastIndex(e, "geneve") {
			continue // libpcap takes what a tunnel carries for a label stack's
		}
		if alone := strings.Contains(e, "protochain") || strings.Contains(e, "geneve"); alone && (strings.Contains(e, "[") || strings.Contains(e, "/0")) {
			continue // without the optimizer, libpcap also reads what is multiplied by 0
		}
		if err != nil {
			require.ErrorContains(t, err, matchesNone, e)
			require.False(t, matchesAny(o.program, frames), e)
			none++
			continue
		}
		m := agree(t, e, f, o, frames)
		require.True(t, o.err == "" || m.matched == 0, e)
		n.add(m)
		good++
	}
	t.Logf("%d expressions: %d compile, %d match no frame; %d comparisons, %d matches; %d of cut frames as libpcap has it without its optimizer",
		count, good, none, n.compared, n.matched, n.short)
	require.Greater(t, good, count/5)
}

// Conditions on few values, of which many are decided by others: what the optimizer makes of
// them agrees with the conditions as parsed.
func TestOptimizedExpressionsOfFewValuesAgree(t *testing.T) {
	a := author{rand.New(rand.NewPCG(2, 3))}
	var frames []testFrame
	for i := range 256 {
		p := make([]byte, 60)
		copy(p[12:], []byte{8, 0, 0x45, 0, 0, 46})
		p[13], p[23] = byte(i&1)*6, byte(6+11*(i>>1&1))
		copy(p[26:], []byte{10, byte(i >> 2 & 1), 0, 1 + byte(i>>3&1), 10, byte(i >> 4 & 1), 0, 1 + byte(i>>5&1)})
		p[35], p[37] = 53+byte(i>>6&1), 53+byte(i>>7)
		frames = append(frames, testFrame{p, len(p)}, testFrame{p[:20+i%20], 20 + i%20})
	}
	test := func() string {
		e := a.one("host 10.0.0.1", "src host 10.0.0.1", "dst host 10.0.0.2", "ip net 10.0.0.0/16", "net 10.1.0.0/16", "src net 10.0.0.0/8",
			"port 53", "dst port 54", "udp", "tcp", "ip", "arp", "ip[12:4] & 255 = 1", "ip[16:2] = 2560", "ip[12:4] > ip[16:4]")
		return a.one("", "", "not ") + e
	}
	for range 3000 / stride {
		e := test()
		for range 1 + a.IntN(5) {
			e = a.one("", "not ") + "(" + e + ")" + a.join() + test()
		}
		f, err := compile(t, e)
		if err != nil {
			require.ErrorContains(t, err, matchesNone)
			continue
		}
		for _, frame := range frames {
			f.same(t, frame)
		}
	}
}

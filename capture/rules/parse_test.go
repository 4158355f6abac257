package rules

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

func TestStringIsParsedAsTheSameRules(t *testing.T) {
	frames := someFrames(t)
	for in, want := range map[string]string{
		"none":                  "all",
		"  # nothing\n;;\nnone": "all",
		"none # no rules":       "all",
		"all":                   "all",
		"drop":                  "drop",
		"128":                   "128",
		"headers;":              "headers",
		"(tcp) all":             "(tcp) all; all",
		"(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128":           "(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128",
		"(udp and port 53) all; (net 10.0.0.0/8 and (tcp or sctp)) 96; (vlan 12) drop; 128": "(udp and port 53) all; (net 10.0.0.0/8 and (tcp or sctp)) 96; (vlan 12) drop; 128",
		"( ip6&&not  udp )65535 # all but\n(! arp) headers":                                 "(ip6&&not udp) 65535; (! arp) headers; all",
		"(not not not ip) 1":                                           "(not not not ip) 1; all",
		"(src host 2001:DB8:0::1) drop":                                "(src host 2001:DB8:0::1) drop; all",
		"(dst net ::/0) drop":                                          "(dst net ::/0) drop; all",
		"(host ::ffff:1.2.3.4) drop":                                   "(host ::ffff:1.2.3.4) drop; all",
		"(src portrange 5-5) 9":                                        "(src portrange 5-5) 9; all",
		"(dst portrange 0-65535) 9":                                    "(dst portrange 0-65535) 9; all",
		"(vlan and vlan 0 and mpls) 9":                                 "(vlan and vlan 0 and mpls) 9; all",
		"(mpls 0xfffff and mpls) 9":                                    "(mpls 0xfffff and mpls) 9; all",
		"(ether host A:B:C:d:e:ff) 9":                                  "(ether host A:B:C:d:e:ff) 9; all",
		"(ether dst host 0:0:0:0:0:0) 9":                               "(ether dst host 0:0:0:0:0:0) 9; all",
		"(ether proto 2048) 9":                                         "(ether proto 2048) 9; all",
		"(mpls and ether proto 0x86dd and not not host 2001:db8::1) 9": "(mpls and ether proto 0x86dd and not not host 2001:db8::1) 9; all",
		// Beyond primitives joined by "and".
		"(tcp or udp) 96":                                     "(tcp or udp) 96; all",
		"(tcp || udp) 96":                                     "(tcp || udp) 96; all",
		"(tcp and (port 80)) 96":                              "(tcp and (port 80)) 96; all",
		"(not (tcp)) 96":                                      "(not (tcp)) 96; all",
		"((tcp)or(udp))1\t;\r\n((ip6)) 2":                     "((tcp)or(udp)) 1; ((ip6)) 2; all",
		"(tcp port 80) all":                                   "(tcp port 80) all; all",
		"(ip host 1.2.3.4) all":                               "(ip host 1.2.3.4) all; all",
		"(udp src port 80) all":                               "(udp src port 80) all; all",
		"(src 1.2.3.4) all":                                   "(src 1.2.3.4) all; all",
		"(src or dst port 5) all":                             "(src or dst port 5) all; all",
		"(net 10) all":                                        "(net 10) all; all",
		"(net 10.0.0.0) all":                                  "(net 10.0.0.0) all; all",
		"(port http) all":                                     "(port http) all; all",
		"(port 010) all":                                      "(port 010) all; all",
		"(portrange 5) all":                                   "(portrange 5) all; all",
		"(portrange 6-5) all":                                 "(portrange 6-5) all; all",
		"(vlan and vlan and vlan and mpls and mpls) all":      "(vlan and vlan and vlan and mpls and mpls) all; all",
		"(ether host 0102.0304.0506) all":                     "(ether host 0102.0304.0506) all; all",
		"(ether src 1:2:3:4:5:6) all":                         "(ether src 1:2:3:4:5:6) all; all",
		"(ether proto 0x809b) all":                            "(ether proto 0x809b) all; all",
		"(tcp[13] & 2 != 0 and ip[6:2] & 0x1fff = 0) headers": "(tcp[13] & 2 != 0 and ip[6:2] & 0x1fff = 0) headers; all",
		"(" + strings.Repeat("ip and ", 32) + "ip) all":       "(" + strings.Repeat("ip and ", 32) + "ip) all; all",
	} {
		r, err := Parse(in)
		require.NoError(t, err, in)
		require.Equal(t, want, r.String(), in)
		again, err := Parse(r.String())
		require.NoError(t, err)
		require.Equal(t, r.String(), again.String(), "what String returns means the same")
		same(t, r, again, frames)
		parts := strings.Split(want, "; ")
		require.Equal(t, len(parts), r.Len()+1)
		for i, part := range parts {
			require.Equal(t, part, r.Rule(i))
		}
	}
}

func TestParseSaysWhereAndWhatToWriteInstead(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "no rules: write (EXPRESSION) ACTION, all to keep every frame whole, or none"},
		{"  # nothing\n;;\n", "no rules: write (EXPRESSION) ACTION, all to keep every frame whole, or none"},
		{"none; all", "column 7: a rule behind the one without an expression"},
		{"(tcp) drop; none", "column 13: none behind a rule: it stands alone, for no rules; write all"},
		{"(tcp) none", `column 7: "none": want drop, all`},
		{"(or udp) 96", `column 2: "or" where a condition, such as host, net, port or tcp is expected`},
		{"(tcp) all\n\n  (udp) some", `line 3, column 9: "some": want drop, all, headers, or the number of bytes to keep, 1 to 65535`},
		{"(tcp) all\n\n  (udp or colour) 5", `line 3, column 11: a value without a qualifier`},
		{"(tcp)", `column 6: "": want drop, all`},
		{"(tcp) 65536", "want drop, all"},
		{"(tcp) 0", "column 7: 0 bytes to keep: write drop"},
		{"(tcp) -1", "want drop, all"},
		{"(tcp) all all", `column 11: "all" behind "all": rules are separated by ; or the end of a line`},
		{"(tcp) all (udp) all", `column 11: "(" behind "all"`},
		{"(tcp", "column 5: the expression is not closed"},
		{"(tcp; udp) 5", "column 5: the expression is not closed"},
		{"(tcp\nand port 80) 5", "line 1, column 5: the expression is not closed"},
		{"(tcp # and\n) 5", "line 1, column 6: the expression is not closed"},
		{"((tcp) 5", "column 9: the expression is not closed"},
		{"(tcp)) 5", `column 6: unexpected ")": write drop, all`},
		{"()", "column 2: no expression: write what to match, or the action alone for all frames"},
		{"(\t ) drop", "column 2: no expression"},
		{"(", "column 2: the expression is not closed"},
		{"(tcp and) all", "column 9: the end where a condition"},
		{"(tcp udp) all", `column 6: "udp" where "and", "or" or the end is expected`},
		{"tcp", `column 1: "tcp": want a rule, (EXPRESSION) ACTION, or alone drop, all`},
		{"99999999999999999999", "want drop, all"},
		{"drop; (tcp) all", "column 7: a rule behind the one without an expression, which is for all frames: write that last"},
		{"drop; all", "column 7: a rule behind the one without an expression"},
		{"(1.2.3.4) all", "column 2: an address alone: write host 1.2.3.4"},
		{"(src tcp) all", `column 6: "tcp" is a word of the language where an address, a number or a name is expected`},
		{"(host example.org) all", "column 7: host example.org: names of hosts are not resolved: write the address"},
		{"(host 10.0.0.0/8) all", "column 7: 10.0.0.0 with a mask is a network: write net before it"},
		{"(net 10.0.0.1/8) all", "column 6: 10.0.0.1 has bits set beyond the mask: write 10.0.0.0"},
		{"(net 10.0.0.0/33) all", "column 6: 10.0.0.0/33: an IPv4 address has 32 bits"},
		{"(port 65536) all", "column 7: port 65536: ports go up to 65535"},
		{"(port 0x) all", "column 7: port 0x is not known: write its number"},
		{"(portrange 5-65536) all", "column 12: port 65536: ports go up to 65535"},
		{"(portrange -5) all", "column 12"},
		{"(dst portrange 0-0xffff) 9", "column 16: port 0xffff is not known"},
		{"(vlan 4096) all", "column 7: vlan 4096: tags have 12 bits, up to 4095"},
		{"(mpls 1048576) all", "mpls 1048576: labels have 20 bits, up to 1048575"},
		{"(proto 256) all", "no frame can match this expression"},
		{"(proto) all", "column 7"},
		{"(proto 0xff and icmp and icmp6 and sctp and arp) 9", "no frame can match this expression"},
		{"(mpls and ether proto 0x86dd and not not host 1.2.3.4) 9", "no frame can match this expression"},
		{"(tcp and udp) 9", "column 2: no frame can match this expression"},
		{"(mpls and vlan) all", "column 11: vlan behind mpls"},
		{"(mpls and arp) all", "column 11: behind mpls only IPv4 and IPv6 can be tested"},
		{"(mpls and ether proto 0x806) all", "behind mpls only IPv4 and IPv6 can be tested"},
		{"(ether host 1:2:3:4:5) all", "column 13"},
		{"(ether port 5) all", "column 13"},
		{"(ether src proto 5) all", "column 12"},
		{"(tcp) all; [x]", `line 1, column 12: unexpected "["`},
		{"(tcp & udp) all", "column 6"},
		{strings.Repeat("(ip) all;", 4097), "more than 4096 rules"},
		{strings.Repeat("#", 1<<20+1), "more than 1 MiB of text"},
	} {
		_, err := Parse(c.in)
		require.ErrorContains(t, err, c.want, c.in)
		require.NotContains(t, err.Error(), "\n")
	}
}

// same checks that rules whose texts differ in spaces only are the same.
func same(t *testing.T, r, again *Rules, frames []ring.Frame) {
	t.Helper()
	third, err := Parse(again.String())
	require.NoError(t, err)
	require.Equal(t, again, third, "one text is one program")
	keep, keepAgain := make([]uint32, len(frames)), make([]uint32, len(frames))
	m, mAgain := r.NewMatcher(), again.NewMatcher()
	m.Apply(frames, keep, unlimited)
	mAgain.Apply(frames, keepAgain, unlimited)
	require.Equal(t, keep, keepAgain)
	require.Equal(t, m.Hits(), mAgain.Hits())
}

// someFrames are frames with everything that rules read.
func someFrames(t testing.TB) (out []ring.Frame) {
	for _, b := range mutants(sample(readCapture(t, hosts), 100), rand.New(rand.NewPCG(1, 2))) {
		out = append(out, frameOf(b))
	}
	return out
}

func FuzzParse(f *testing.F) {
	frames := someFrames(f)
	for _, s := range []string{
		"", "none", "(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128",
		"(ether src host 0:1:2:3:4:5 and ether proto 0x800) headers # c\n(mpls 5 and mpls and ip6) 9",
		"(not src net 2001:db8::/32 && ! dst portrange 5-0x10) 1", "(tcp or udp) 5", "(host ::ffff:1.2.3.4) 5",
		"(tcp[13] & 2 != 0 or (not (vlan 3)) and len < 0x60) drop\r\n((ip)) 3;64 # the rest",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		again, err := Parse(r.String())
		require.NoError(t, err, r.String())
		require.Equal(t, r.String(), again.String())
		require.Equal(t, r.Len(), again.Len())
		for i := range r.Len() + 1 {
			require.Equal(t, r.action(i), again.action(i))
		}
		same(t, r, again, frames)
	})
}

func TestKeepIsARuleThatDropsTheRest(t *testing.T) {
	for _, expr := range []string{"udp and port 53", "ip or\n  arp"} {
		r, err := Keep(expr)
		require.NoError(t, err)
		same, err := Parse("(" + strings.ReplaceAll(expr, "\n", " ") + ") all; drop")
		require.NoError(t, err)
		require.Equal(t, same.String(), r.String())
	}
	for expr, want := range map[string]string{
		"prot 53": "column 1: ", "ip and prot 53": "column 8: ", " ": "no expression", "ip) all; (udp": "column ", "ip # x": "column ",
	} {
		r, err := Keep(expr)
		require.ErrorContains(t, err, want, expr)
		require.NotContains(t, err.Error(), "rules:", expr)
		require.Nil(t, r)
	}
}

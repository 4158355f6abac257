package rules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseWritesRulesInOneWay(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "all",
		"  # nothing\n;;\n": "all",
		"drop":              "drop",
		"128":               "128",
		"headers;":          "headers",
		"(tcp) all":         "(tcp) all; all",
		"(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128": "(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128",
		"( ip6&&not  udp )65535 # all but\n(! arp) headers":                       "(ip6 and not udp) 65535; (not arp) headers; all",
		"(not not not ip) 1":                                       "(not ip) 1; all",
		"(src host 2001:DB8:0::1) drop":                            "(src host 2001:db8::1) drop; all",
		"(dst net ::/0) drop":                                      "(dst net ::/0) drop; all",
		"(host ::ffff:1.2.3.4) drop":                               "(host ::ffff:1.2.3.4) drop; all",
		"(src portrange 5-5) 9":                                    "(src port 5) 9; all",
		"(dst portrange 0-0xffff) 9":                               "(dst portrange 0-65535) 9; all",
		"(vlan and vlan 0 and mpls) 9":                             "(vlan and vlan 0 and mpls) 9; all",
		"(mpls 0xfffff and mpls) 9":                                "(mpls 1048575 and mpls) 9; all",
		"(ether host A:B:C:d:e:ff) 9":                              "(ether host 0a:0b:0c:0d:0e:ff) 9; all",
		"(ether dst host 0:0:0:0:0:0) 9":                           "(ether dst host 00:00:00:00:00:00) 9; all",
		"(ether proto 2048) 9":                                     "(ether proto 0x800) 9; all",
		"(proto 0xff and icmp and icmp6 and sctp and arp) 9":       "(proto 255 and icmp and icmp6 and sctp and arp) 9; all",
		"(mpls and ether proto 0x86dd and not not host 1.2.3.4) 9": "(mpls and ether proto 0x86dd and host 1.2.3.4) 9; all",
	} {
		r, err := Parse(in)
		require.NoError(t, err, in)
		require.Equal(t, want, r.String(), in)
		again, err := Parse(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again, "what String gives means the same")
		parts := strings.Split(want, "; ")
		require.Equal(t, len(parts), r.Len()+1)
		for i, part := range parts {
			require.Equal(t, part, r.Rule(i))
		}
	}
}

func TestParseSaysWhereAndWhatToWriteInstead(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"(tcp or udp) 96", `line 1, column 6: "or" in a match: write two rules, one for each side, with the same action`},
		{"(tcp || udp) 96", `column 6: "||" in a match: write two rules`},
		{"(or udp) 96", `column 2: "or" in a match: write two rules`},
		{"(tcp and (port 80)) 96", "column 10: parentheses within a match: leave them away"},
		{"(not (tcp)) 96", "column 6: parentheses within a match"},
		{"(tcp) all\n\n  (udp) some", `line 3, column 9: "some": want drop, all, headers, or the number of bytes to keep, 1 to 65535`},
		{"(tcp)", `column 6: "": want drop, all`},
		{"(tcp) 65536", "want drop, all"},
		{"(tcp) 0", "column 7: 0 bytes to keep: write drop"},
		{"(tcp) -1", "want drop, all"},
		{"(tcp) all all", `column 11: "all" behind "all": rules are separated by ; or the end of a line`},
		{"(tcp) all (udp) all", `column 11: "(" behind "all"`},
		{"(tcp", "column 5: the match is not closed"},
		{"(tcp; udp) 5", "column 5: the match is not closed"},
		{"()", `column 2: ")": want ip, ip6`},
		{"(", "column 2: the match ends here: want ip, ip6"},
		{"(tcp and) all", `column 9: ")": want ip, ip6`},
		{"(tcp udp) all", `column 6: "udp": want and, or ) and an action`},
		{"tcp", `column 1: "tcp": want a rule, (MATCH) ACTION, or alone drop, all`},
		{"99999999999999999999", "want drop, all"},
		{"drop; (tcp) all", "column 7: a rule behind the one without a match, which matches every frame: move that to the end"},
		{"drop; all", "column 7: a rule behind the one without a match"},
		{"(tcp port 80) all", `column 6: "port" behind "tcp": write tcp and port`},
		{"(ip host 1.2.3.4) all", `column 5: "host" behind "ip": write ip and host`},
		{"(udp src port 80) all", `column 6: "src" behind "udp": write udp and src`},
		{"(1.2.3.4) all", `column 2: "1.2.3.4": write host 1.2.3.4`},
		{"(src 1.2.3.4) all", `column 6: "1.2.3.4" behind src or dst: want host, net, port or portrange`},
		{"(src tcp) all", `column 6: "tcp" behind src or dst`},
		{"(src or dst port 5) all", `column 6: "or" in a match`},
		{"(host example.org) all", `column 7: "example.org": want an IPv4 or IPv6 address in numbers`},
		{"(host 10.0.0.0/8) all", `column 7: "10.0.0.0/8": a host has no length, write net 10.0.0.0/8`},
		{"(net 10.0.0.1/8) all", `column 6: "10.0.0.1/8": bits are set behind the first 8, write net 10.0.0.0/8`},
		{"(net 10) all", `column 6: "10": want an IPv4 or IPv6 address and a length, as 10.0.0.0/8`},
		{"(net 10.0.0.0) all", "as 10.0.0.0/8"},
		{"(net 10.0.0.0/33) all", "as 10.0.0.0/8"},
		{"(port http) all", `column 7: "http": want a port, a number from 0 to 65535`},
		{"(port 65536) all", "want a port"},
		{"(port 010) all", "want a port"},
		{"(port 0x) all", "want a port"},
		{"(portrange 5) all", `column 12: "5": want two ports as in 1024-2047, the smaller first`},
		{"(portrange 6-5) all", "the smaller first"},
		{"(portrange 5-65536) all", "the smaller first"},
		{"(portrange -5) all", "the smaller first"},
		{"(vlan 4096) all", `column 7: "4096": want a VLAN, a number from 0 to 4095`},
		{"(mpls 1048576) all", "want an MPLS label, a number from 0 to 1048575"},
		{"(proto 256) all", "want an IP protocol, a number from 0 to 255"},
		{"(proto) all", "want an IP protocol"},
		{"(mpls and vlan) all", "column 11: vlan behind mpls: a tag is in front of labels, write vlan first"},
		{"(mpls and arp) all", "column 11: arp behind mpls"},
		{"(mpls and ether proto 0x806) all", "column 17: ether proto behind mpls: only ip and ip6 can be told there"},
		{"(vlan and vlan and vlan and mpls and mpls) all", "column 38: more than 4 of vlan and mpls in a rule"},
		{"(ether host 1:2:3:4:5) all", "column 13: \"1:2:3:4:5\": want a MAC address as 00:1b:21:0a:0b:0c"},
		{"(ether host 0102.0304.0506) all", "want a MAC address"},
		{"(ether port 5) all", `column 8: "port" behind ether: want [src|dst] host MAC or proto N`},
		{"(ether src proto 5) all", `"proto" behind ether: want [src|dst] host MAC or proto N`},
		{"(ether src 1:2:3:4:5:6) all", "behind ether: want [src|dst] host MAC"},
		{"(ether proto 0x809b) all", "column 14: ether proto 0x809b means IPX or AppleTalk in SNAP frames, too, which are not looked into"},
		{"(tcp) all; [x]", `column 12: unexpected '['`},
		{"(tcp & udp) all", `column 6: unexpected '&'`},
		{"(" + strings.Repeat("ip and ", 32) + "ip) all", "more than 32 primitives in a rule"},
		{strings.Repeat("(ip) all;", 4097), "more than 4096 rules"},
		{strings.Repeat("#", 1<<20+1), "more than 1 MiB of rules"},
	} {
		_, err := Parse(c.in)
		require.ErrorContains(t, err, c.want, c.in)
		require.NotContains(t, err.Error(), "\n")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "(udp and port 53) all; (net 10.0.0.0/8 and tcp) 96; (vlan 12) drop; 128",
		"(ether src host 0:1:2:3:4:5 and ether proto 0x800) headers # c\n(mpls 5 and mpls and ip6) 9",
		"(not src net 2001:db8::/32 && ! dst portrange 5-0x10) 1", "(tcp or udp) 5", "(host ::ffff:1.2.3.4) 5",
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
		require.Equal(t, r, again)
		require.LessOrEqual(t, len(r.levels), maxLevels)
	})
}

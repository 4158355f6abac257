package pcapfilter

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/internal/ether"
)

// asGeneve returns a frame with its headers of VXLAN as those of Geneve without
// options, which are as long.
func asGeneve(p packet) packet {
	out := bytes.Clone(p)
	for i := 0; i+16 <= len(out); i++ {
		if binary.BigEndian.Uint32(out[i:]) == 40000<<16|ether.PortVXLAN && binary.BigEndian.Uint32(out[i+8:]) == 0x08000000 {
			binary.BigEndian.PutUint16(out[i+2:], ether.PortGeneve)
			binary.BigEndian.PutUint32(out[i+8:], ether.TypeBridging)
		}
	}
	return out
}

// libpcap 1.10 has no vxlan, but what stands behind it means what it means behind
// geneve.
func TestVXLANMovesAsGeneveDoesInLibpcap(t *testing.T) {
	var exprs []string
	for _, e := range expressions() {
		if strings.Count(e, "geneve") == 1 && !strings.Contains(e, "0xabcdef") && !strings.Contains(e, "mpls and geneve") {
			exprs = append(exprs, e)
		}
	}
	exprs = thinned(exprs)
	a := author{rand.New(rand.NewPCG(51, 52))}
	for range 200 / thin {
		if e := "geneve and (" + a.primitive() + " or " + a.primitive() + ")"; strings.Count(e, "geneve") == 1 {
			exprs = append(exprs, e)
		}
	}
	matches := 0
	for i, o := range ask(t, exprs) {
		f, err := Compile(strings.ReplaceAll(exprs[i], "geneve", "vxlan"))
		if err != nil || o.program == nil {
			continue
		}
		for _, p := range tunnelled() {
			q := asGeneve(p)
			if bytes.Equal(p, q) { // another version, or Geneve: with the port of VXLAN it is no VXLAN
				continue
			}
			got := f.Match(p, len(p))
			require.Equal(t, run(o.program, q, len(q)), got, "%s\n% x", f, p)
			if got {
				matches++
			}
		}
	}
	require.Greater(t, matches, 500/thin)
}

func TestTunnelsAreMatchedByTheirNetwork(t *testing.T) {
	e := ethernet(0x0800)
	inner := ethernet(0x0800).ip4(5, 6, 0, host1, host2).tcp(40000, 80, 2)
	vxlan := append(e.ip4(5, 17, 0, host3, host2).u16(40000, 4789, 80, 0).u32(0x08000000, 0x123456<<8), inner...)
	geneve := append(e.ip4(5, 17, 0, host3, host2).u16(40000, 6081, 80, 0).u32(0x00006558, 0x123456<<8), inner...)
	for expr, want := range map[string][2]bool{ // of vxlan and geneve
		"vxlan":                              {true, false},
		"vxlan 0x123456":                     {true, false},
		"vxlan 0x123457":                     {false, false},
		"geneve":                             {false, true},
		"geneve 1193046":                     {false, true},
		"geneve 0":                           {false, false},
		"vxlan and host 10.1.2.3":            {false, false}, // the outer address
		"vxlan and host 192.0.2.1":           {true, false},
		"host 10.1.2.3 and vxlan":            {true, false},
		"host 192.0.2.1":                     {false, false},
		"geneve and tcp port 80":             {false, true},
		"udp port 4789 and vxlan and udp":    {false, false},
		"tcp or (vxlan and tcp dst port 80)": {true, false},
		"not tcp and not vxlan":              {false, true},
	} {
		f, err := Compile(expr)
		require.NoError(t, err, expr)
		require.Equal(t, want[0], f.Match(vxlan, len(vxlan)), expr)
		require.Equal(t, want[1], f.Match(geneve, len(geneve)), expr)
	}
}

// An index holds the outer addresses and ports: what stands behind a tunnel must not
// rule out a frame.
func TestNeedsOfATunnelAreTheOuterOnes(t *testing.T) {
	for expr, want := range map[string]string{
		"vxlan and host 192.0.2.1":            "port 4789",
		"geneve and tcp port 80":              "port 6081",
		"host 10.1.2.3 and geneve and port 5": "(net 10.1.2.3/32 and port 6081)",
		"protochain 6":                        "anything",
	} {
		f, err := Compile(expr)
		require.NoError(t, err, expr)
		require.Equal(t, want, f.Needs().String(), expr)
	}
}

func TestChainOfHeadersIsFollowedSoFar(t *testing.T) {
	f, err := Compile("ip6 protochain 6")
	require.NoError(t, err)
	chain := func(headers int) packet {
		p := ethernet(0x86dd).ip6(60, 1, 2)
		for range headers - 1 {
			p = p.u8(60, 0, 1, 4, 0, 0, 0, 0)
		}
		return p.u8(6, 0, 1, 4, 0, 0, 0, 0).tcp(1, 2, 3)
	}
	for headers, want := range map[int]bool{1: true, maxChain - 1: true, maxChain: false, 5000: false} {
		p := chain(headers)
		require.Equal(t, want, f.Match(p, len(p)), headers)
	}
}

// libpcap loses its place behind an authentication header.
func TestChainGoesOnBehindAuthentication(t *testing.T) {
	p := ethernet(0x86dd).ip6(51, 1, 2).u8(60, 1, 0, 0).u32(1, 1).u8(17, 0, 1, 4, 0, 0, 0, 0).udp(40000, 53)
	q := ethernet(0x0800).ip4(5, 51, 0, host1, host2).u8(51, 2, 0, 0).u32(1, 1, 1).u8(6, 1, 0, 0).u32(1, 1).tcp(1, 2, 3)
	for expr, want := range map[string][2]bool{
		"ip6 protochain 17": {true, false}, "ip6 protochain 60": {true, false}, "protochain 51": {true, true}, "protochain 6": {false, true}, "ip protochain 17": {false, false},
	} {
		f, err := Compile(expr)
		require.NoError(t, err, expr)
		require.Equal(t, want, [2]bool{f.Match(p, len(p)), f.Match(q, len(q))}, expr)
	}
}

func TestByteMayTestBits(t *testing.T) {
	p := ethernet(0x0800)
	for expr, want := range map[string]bool{
		"byte 13 & 1": false, "byte 12 & 8": true, "byte 12 & 7": false, "byte 13 | 0": false, "byte 13 | 1": true, "byte 12 | 0": true,
		"byte 99 | 1": false, // behind the end
	} {
		f, err := Compile(expr)
		require.NoError(t, err, expr)
		require.Equal(t, want, f.Match(p, len(p)), expr)
	}
}

package pcapfilter

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// has is what a frame has, read from its headers as Term's comment defines: it shares
// no code with the filters.
type has struct {
	addrs  []netip.Addr
	ports  []uint16
	protos []uint8
}

func look(d []byte) (h has) {
	if len(d) < 14 {
		return h
	}
	kind, d := binary.BigEndian.Uint16(d[12:]), d[14:]
	for kind == 0x8100 || kind == 0x88a8 || kind == 0x9100 {
		if len(d) < 4 {
			return h
		}
		kind, d = binary.BigEndian.Uint16(d[2:]), d[4:]
	}
	switch kind {
	case 0x8847:
		for bottom := false; !bottom; d = d[4:] {
			if len(d) < 5 {
				return h
			}
			bottom = d[2]&1 == 1
		}
		switch d[0] >> 4 {
		case 4:
			kind = 0x0800
		case 6:
			kind = 0x86dd
		}
	case 0x8864:
		if len(d) < 8 {
			return h
		}
		switch binary.BigEndian.Uint16(d[6:]) {
		case 0x21:
			kind = 0x0800
		case 0x57:
			kind = 0x86dd
		}
		d = d[8:]
	}
	addr := func(at, size int) {
		if len(d) >= at+size {
			a, _ := netip.AddrFromSlice(d[at : at+size])
			h.addrs = append(h.addrs, a)
		}
	}
	port := func(proto byte, at int) {
		if proto != 6 && proto != 17 && proto != 132 {
			return
		}
		for ; len(d) >= at+2 && len(h.ports) < 2; at += 2 {
			h.ports = append(h.ports, binary.BigEndian.Uint16(d[at:]))
		}
	}
	switch {
	case kind == 0x0806 || kind == 0x8035:
		addr(14, 4)
		addr(24, 4)
	case kind == 0x0800 && len(d) >= 10:
		h.protos = append(h.protos, d[9])
		addr(12, 4)
		addr(16, 4)
		if binary.BigEndian.Uint16(d[6:])&0x1fff == 0 {
			port(d[9], 4*int(d[0]&15))
		}
	case kind == 0x86dd && len(d) >= 7:
		h.protos = append(h.protos, d[6])
		if d[6] == 44 && len(d) > 40 {
			h.protos = append(h.protos, d[40])
		}
		for at := 8; at <= 24; at += 16 { // what there is of it: a network is found in an address that is cut
			if a := [16]byte{}; len(d) >= at+4 {
				copy(a[:], d[at:])
				h.addrs = append(h.addrs, netip.AddrFrom16(a))
			}
		}
		port(d[6], 40)
	}
	return h
}

func (h has) term(t Term) bool {
	switch t.Kind {
	case Net:
		for _, a := range h.addrs {
			if t.Net.Contains(a) || t.Net.Masked() == netip.PrefixFrom(a, t.Net.Bits()).Masked() {
				return true
			}
		}
	case Port:
		for _, p := range h.ports {
			if t.Lo <= p && p <= t.Hi {
				return true
			}
		}
	case Proto:
		for _, p := range h.protos {
			if uint16(p) == t.Lo {
				return true
			}
		}
	}
	return false
}

func TestNeedsMayIsTrueOfEveryFrameThatMatches(t *testing.T) {
	exprs := thinned(expressions())
	a := author{rand.New(rand.NewPCG(3, 3))}
	for range 2000 / thin {
		exprs = append(exprs, a.expr(4))
	}
	frames := append(sample(t, 20*stride), a.frames(2000/thin)...)
	facts := make([]has, len(frames))
	for i, f := range frames {
		facts[i] = look(f.data)
	}
	matches, ruledOut, telling := 0, 0, 0
	for _, e := range exprs {
		f, err := Compile(e)
		if err != nil {
			continue
		}
		n := f.Needs()
		if n.op == needNothing {
			continue
		}
		telling++
		for i, frame := range frames {
			may := n.May(facts[i].term)
			if f.Match(frame.data, frame.wire) {
				matches++
				require.True(t, may, "%q needs %s, but matches\n% x", e, n, frame.data)
			} else if !may {
				ruledOut++
			}
		}
	}
	t.Logf("%d filters with needs, %d matches, %d frames ruled out", telling, matches, ruledOut)
	require.Greater(t, telling, 300/thin)
	require.Greater(t, matches, 1000/thin)
	require.Greater(t, ruledOut, matches)
}

func TestNeedsAreTheTermsOfTheExpression(t *testing.T) {
	for expr, want := range map[string]string{
		"":                                      "anything",
		"host 10.0.0.1 and port 53":             "(net 10.0.0.1/32 and port 53)",
		"host 10.0.0.1 or port 53":              "(net 10.0.0.1/32 or port 53)",
		"host 10.0.0.1 or greater 100":          "anything",
		"host 10.0.0.1 and greater 100":         "net 10.0.0.1/32",
		"not host 10.0.0.1":                     "anything",
		"not (not host 10.0.0.1 or port 53)":    "net 10.0.0.1/32",
		"src net 10.0.0.0/8":                    "net 10.0.0.0/8",
		"net 10.0.0.0 mask 255.0.255.0":         "anything",
		"net 2001:db8::/33":                     "net 2001:db8::/33",
		"host ::ffff:10.0.0.1":                  "net ::ffff:10.0.0.1/128",
		"portrange 100-200":                     "portrange 100-200",
		"icmp":                                  "proto 1",
		"tcp":                                   "proto 6",
		"tcp[13] & 2 != 0":                      "proto 6",
		"ip proto 300 or tcp":                   "anything",
		"vlan and host 10.0.0.1":                "net 10.0.0.1/32",
		"vlan and host 10.0.0.1 and port 53":    "(net 10.0.0.1/32 and port 53)",
		"vlan 5 and mpls and host 10.0.0.1":     "net 10.0.0.1/32",
		"vlan and pppoes and host 10.0.0.1":     "net 10.0.0.1/32",
		"vlan or host 10.0.0.1":                 "anything",
		"not vlan and host 10.0.0.1":            "anything",
		"(vlan or tcp) and host 10.0.0.1":       "anything",
		"net 0.0.0.0/0 or net ::/0":             "anything",
		"not (not vlan or not host 10.0.0.1)":   "net 10.0.0.1/32",
		"pppoes and mpls and host 10.0.0.1":     "anything",
		"pppoes and pppoes and host 10.0.0.1":   "anything",
		"vlan and pppoes and port 53":           "port 53",
		strings.Repeat("vlan and ", 70) + "tcp": "anything",
		"(vlan and port 53) or port 53":         "anything",
		"host 10.0.0.1 or (vlan and port 53)":   "(net 10.0.0.1/32 or port 53)",
		"host 10.0.0.1 or 10.0.0.2 or 10.0.0.3": "(net 10.0.0.1/32 or net 10.0.0.2/32 or net 10.0.0.3/32)",
	} {
		f, err := Compile(expr)
		require.NoError(t, err, expr)
		require.Equal(t, want, f.Needs().String(), expr)
	}
}

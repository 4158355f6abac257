package hwfilter_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/hwfilter"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// generator makes expressions and frames of few addresses, ports and protocols, so that
// they meet.
type generator struct{ *rand.Rand }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

func (g generator) direction() string { return pick(g, "", "", "src ", "dst ") }

func (g generator) primitive() string {
	switch g.IntN(14) {
	case 0:
		return pick(g, "ip", "ip6", "tcp", "udp", "sctp", "arp")
	case 1, 2:
		return pick(g, "", "tcp ", "udp ", "sctp ") + g.direction() + "port " + pick(g, "53", "80", "0x35", "0")
	case 3:
		return pick(g, "", "ip ") + g.direction() + "net " + pick(g, "10.0.0.0/24", "10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0")
	case 4, 5:
		return pick(g, "ip6 ", "") + pick(g, "src ", "src ", "", "dst ") + pick(g, "host 2001:db8::1", "host 2001:db8::2", "net 2001:db8::/32", "net 2001:db9::/16")
	case 6:
		return pick(g, "vlan 7", "vlan 8", "vlan")
	case 7:
		return "ether proto " + pick(g, "0x806", "0x88cc", "0x800", "0", "0x8100")
	case 8:
		return "tcp[tcpflags] & tcp-syn != 0"
	default:
		return pick(g, "", "ip ") + g.direction() + "host " + pick(g, "10.0.0.1", "10.0.0.2", "10.1.0.1")
	}
}

func (g generator) expression(depth int) string {
	var b strings.Builder
	for i := range pick(g, 1, 1, 2, 2, 3) {
		if i > 0 {
			b.WriteString(pick(g, " and ", " or ", " && ", "||"))
		}
		if depth > 0 && g.IntN(4) == 0 {
			b.WriteString("(" + g.expression(depth-1) + ")")
		} else {
			b.WriteString(g.primitive())
		}
	}
	if g.IntN(8) == 0 {
		b.WriteString(pick(g, " or 53", " and 10.0.0.2", " or 10.1.0.1", " and 80"))
	}
	return b.String()
}

func (g generator) frame() []byte {
	if g.IntN(20) == 0 {
		return arp(pick(g, "10.0.0.1", "10.0.0.9"))
	}
	host := func() string { return pick(g, "10.0.0.1", "10.0.0.2", "10.1.0.1", "11.0.0.1") }
	if g.IntN(3) == 0 {
		host = func() string { return pick(g, "2001:db8::1", "2001:db8::2", "2001:db9::1") }
	}
	port := func() uint16 { return pick[uint16](g, 53, 80, 4000, 0) }
	f := packet(host(), host(), pick[byte](g, 6, 6, 17, 17, 132, 47), port(), port())
	if f[12] == 8 {
		switch g.IntN(10) {
		case 0:
			f[20] = 0x20 // first fragment
		case 1:
			f[21] = 4 // later fragment
		}
	}
	if l4 := 14 + 20; f[12] == 8 && f[23] == 6 && g.IntN(3) == 0 {
		f[l4+13] = 2
	} else if f[12] == 0x86 && f[20] == 6 && g.IntN(3) == 0 {
		f[14+40+13] = 2
	}
	for range pick(g, 0, 0, 0, 0, 1, 1, 2) {
		f = append(f[:12:12], append([]byte{0x81, 0, byte(g.IntN(8) << 5), pick[byte](g, 7, 8)}, f[12:]...)...)
	}
	return f
}

// isSYNv6 reports whether a frame is a TCP SYN over IPv6, behind one tag or none.
func isSYNv6(f []byte) bool {
	f = f[4*min(tags(f), 1):]
	return f[12] == 0x86 && f[20] == 6 && f[14+40+13]&2 != 0
}

// tags is the number of 802.1Q tags of a frame.
func tags(f []byte) (n int) {
	for f[12+4*n] == 0x81 {
		n++
	}
	return n
}

// Random rules and frames: a rule that decides about a frame matches it, or does so
// without the frame's tag, and all rules before it that match leave something to software.
func TestTheChipAgreesWithTheExpressions(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(13, 82599))}
	const rounds = 20
	planned, refused := 0, 0
	for planned < rounds {
		var all []string
		for range pick(g, 1, 1, 2, 3) {
			all = append(all, fmt.Sprintf("(%s) %s", g.expression(2), pick(g, "drop", "drop", "queue 1", "queue 2")))
		}
		text := strings.Join(all, "; ")
		r, err := hwfilter.Parse(text)
		if err != nil {
			continue
		}
		p, err := r.Plan(4, 0)
		if err != nil {
			refused++
			continue
		}
		planned++
		compare(t, g, text, all, p)
		if t.Failed() {
			return
		}
	}
	require.Less(t, refused, 8*planned)
}

func compare(t *testing.T, g generator, text string, rules []string, p hwfilter.Plan) {
	t.Helper()
	var frames [][]byte
	seen := map[string]bool{}
	for range 400 {
		f := g.frame()
		f[0], f[1] = byte(len(frames)>>8)&^1, byte(len(frames))
		if !seen[string(f)] {
			frames = append(frames, f)
		}
		seen[string(f)] = true
	}
	var match []*pcapfilter.Filter
	var action []string
	for _, r := range rules {
		end := strings.LastIndex(r, ") ")
		m, err := pcapfilter.Compile(r[1:end])
		require.NoError(t, err)
		match, action = append(match, m), append(action, r[end+2:])
	}
	for i, q := range queues(t, p, frames) {
		f := frames[i]
		decided := false
		for k := range match {
			matches := match[k].Match(f, len(f))
			syn := strings.HasPrefix(rules[k], "(tcp[tcpflags]") && isSYNv6(f) // which tcp[] never matches
			wanted := map[string]int{"drop": -1, "queue 1": 1, "queue 2": 2}[action[k]] == q
			if wanted && (matches || syn || tags(f) > 0 && match[k].Match(append(f[:12:12], f[16:]...), len(f)-4)) {
				decided = true
				break
			}
			if matches && len(p.Rules[k].Rest) == 0 {
				t.Errorf("%s\n%v\nframe %x: rule %d matches and its action is not taken: %d", text, p.Rules[k], f, k+1, q)
				return
			}
		}
		if q < 0 && !decided {
			t.Errorf("%s\n%v\nframe %x is dropped, and no rule to drop matches", text, p.Rules, f)
			return
		}
	}
}

package rules

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

// tcpdump returns the frames that libpcap's filter matches; ok is false if it refuses
// the expression. options are tcpdump's.
func tcpdump(t *testing.T, capture []byte, expression string, options ...string) (_ [][]byte, ok bool) {
	cmd := exec.Command("tcpdump", append(options, "-r", "-", "-w", "-", expression)...)
	cmd.Stdin = bytes.NewReader(capture)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		// Such an expression is a contradiction, which no frame matches.
		return nil, strings.Contains(problems.String(), "expression rejects all packets")
	}
	return packets(t, &out), true
}

func writeCapture(t *testing.T, frames [][]byte) []byte {
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	require.NoError(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	for i, b := range frames {
		require.NoError(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: len(b), Length: len(b)}, b))
	}
	return out.Bytes()
}

// expressions makes expressions of the content of frames, so that many match some.
type expressions struct {
	rnd    *rand.Rand
	frames [][]byte
}

func (e *expressions) pick(words ...string) string { return words[e.rnd.IntN(len(words))] }

func (e *expressions) match() string {
	parts := make([]string, 1+e.rnd.IntN(3))
	for i := range parts {
		parts[i] = e.pick("", "", "", "not ") + e.primitive()
	}
	return strings.Join(parts, " and ")
}

// any is an expression with "or" and parentheses, so many levels deep.
func (e *expressions) any(depth int) string {
	if depth == 0 || e.rnd.IntN(4) == 0 {
		return e.pick("", "", "", "not ") + e.primitive()
	}
	return e.pick("", "", "not ") + "(" + e.any(depth-1) + e.pick(" or ", " and ") + e.any(depth-1) + ")"
}

func (e *expressions) primitive() string {
	f := e.frames[e.rnd.IntN(len(e.frames))]
	side := e.pick("", "src ", "dst ")
	switch e.rnd.IntN(15) {
	case 0, 1:
		return e.pick("ip", "ip6", "arp", "tcp", "udp", "sctp", "icmp", "icmp6")
	case 2:
		return fmt.Sprintf("proto %d", []int{1, 6, 17, 44, 58, 132, 0, 255}[e.rnd.IntN(8)])
	case 3, 4, 5:
		return side + "host " + e.address(f).String()
	case 6, 7:
		a := e.address(f)
		p := netip.PrefixFrom(a, e.rnd.IntN(a.BitLen()+1)).Masked()
		return side + "net " + p.String()
	case 8, 9:
		return fmt.Sprintf("%sport %d", side, e.port(f))
	case 10:
		p := e.port(f)
		return fmt.Sprintf("%sportrange %d-%d", side, p-uint16(e.rnd.IntN(int(p)+1)), p|uint16(e.rnd.IntN(1<<15)))
	case 11:
		return e.pick("vlan", "vlan 5", "vlan 4", "vlan 6")
	case 12:
		return e.pick("mpls", "mpls 16", "mpls 17")
	case 13:
		mac := fmt.Sprintf("% x", [][]byte{f, make([]byte, 12)}[min(0, len(f)/12)][:min(6, len(f))])
		if len(f) < 12 {
			mac = "1 2 3 4 5 6"
		} else if e.rnd.IntN(2) == 0 {
			mac = fmt.Sprintf("% x", f[6:12])
		}
		return "ether " + side + "host " + strings.ReplaceAll(mac, " ", ":")
	default:
		return fmt.Sprintf("ether proto %#x", etherTypes[e.rnd.IntN(len(etherTypes))])
	}
}

func (e *expressions) address(f []byte) netip.Addr {
	at := 0
	for _, at = range []int{14, 18, 22} {
		if len(f) < at+40 {
			break
		}
		switch f[at] >> 4 {
		case 4:
			return netip.AddrFrom4([4]byte(f[at+12+4*e.rnd.IntN(2):]))
		case 6:
			return netip.AddrFrom16([16]byte(f[at+8+16*e.rnd.IntN(2):]))
		}
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(e.rnd.IntN(3))})
}

func (e *expressions) port(f []byte) uint16 {
	for _, at := range []int{14, 18} {
		if len(f) < at+44 {
			break
		}
		switch f[at] >> 4 {
		case 4:
			return binary.BigEndian.Uint16(f[at+20+2*e.rnd.IntN(2):])
		case 6:
			return binary.BigEndian.Uint16(f[at+40+2*e.rnd.IntN(2):])
		}
	}
	return 53
}

func TestMatchesAreLibpcaps(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("tcpdump is missing: make tools")
	}
	files := map[string]int{hosts: 120}
	for _, f := range others {
		files[filepath.Join("../../../shared/pcaps", f)] = 40
	}
	for file, n := range files {
		for _, mutated := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/mutated=%v", filepath.Base(file), mutated), func(t *testing.T) {
				frames := sample(readCapture(t, file), 3000)
				rnd := rand.New(rand.NewPCG(uint64(len(frames)), 7))
				n := n
				if raceEnabled { // one goroutine: nothing for the race detector
					n /= 2
				}
				if mutated {
					frames, n = mutants(frames, rnd), 2*n
				}
				e := &expressions{rnd: rnd, frames: frames}
				c := newComparison(t, frames)
				matched := 0
				for i := range n {
					expression := e.match()
					if i%3 == 2 {
						expression = e.any(2)
					}
					if c.sameAsLibpcap(t, expression) {
						matched++
					}
				}
				require.Greater(t, matched, n/10, "expressions that match some frames and not others")
			})
		}
	}
}

// sample is about n of the frames at most, spread over the capture.
func sample(frames [][]byte, n int) (out [][]byte) {
	for i := 0; i < len(frames); i += len(frames)/n + 1 {
		out = append(out, frames[i])
	}
	return out
}

// comparison is a capture for tcpdump, and its frames in the forms in which a device
// can deliver them.
type comparison struct {
	capture []byte
	bytes   [][]byte
	forms   []ring.Frame
	of      []int // by form: the frame
	keep    []uint32
}

func newComparison(t *testing.T, frames [][]byte) *comparison {
	c := &comparison{capture: writeCapture(t, frames), bytes: frames}
	for i, b := range frames {
		forms := []ring.Frame{frameOf(b), chained(b, 1+i%70)}
		if s, ok := stripped(b); ok {
			forms = append(forms, s)
		}
		for _, f := range forms {
			c.forms, c.of = append(c.forms, f), append(c.of, i)
		}
	}
	c.keep = make([]uint32, len(c.forms))
	return c
}

// sameAsLibpcap compares the frames that match an expression. It reports whether some
// match and others do not.
func (c *comparison) sameAsLibpcap(t *testing.T, expression string) bool {
	// Frames that end before a field can match only with libpcap's optimizer, or only
	// without it: see package pcapfilter.
	want, ok := tcpdump(t, c.capture, expression)
	plain, _ := tcpdump(t, c.capture, expression, "-O")
	r, err := Parse("(" + expression + ") all; drop")
	if !ok {
		require.ErrorContains(t, err, "behind mpls", expression)
		return false // both refuse it
	}
	if err != nil {
		require.ErrorContains(t, err, "no frame can match this expression", expression)
		require.Empty(t, want, expression)
		return false
	}
	m := r.NewMatcher()
	m.Apply(c.forms, c.keep, unlimited)
	hits := m.Hits()
	last, yes, plainly := -1, false, false
	for i, f := range c.of {
		if f != last {
			// Frames that are equal follow each other in both.
			last, yes = f, len(want) > 0 && bytes.Equal(want[0], c.bytes[f])
			if yes {
				want = want[1:]
			}
			plainly = len(plain) > 0 && bytes.Equal(plain[0], c.bytes[f])
			if plainly {
				plain = plain[1:]
			}
		}
		if got := c.keep[i] != Drop; got != yes && (got != plainly || len(c.bytes[f]) > 128) {
			require.Equal(t, yes, got, "%s: frame %d %x, %d bytes in its first buffer, %v", expression, f, c.bytes[f], len(c.forms[i].Data), c.forms[i].Info)
		}
	}
	require.Empty(t, want, expression)
	require.Empty(t, plain, expression)
	require.Equal(t, uint64(len(c.forms)), hits[0].Frames+hits[1].Frames)
	return hits[0].Frames > 0 && hits[1].Frames > 0
}

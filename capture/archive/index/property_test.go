package index

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/archive/archivetest"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/pcapfilter"
)

// entryOf returns the entry of a block with one frame.
func entryOf(c *collector, data []byte) (e Entry) {
	c.reset()
	c.frame(data)
	c.pack(&e, nil, nil)
	return e
}

// randomExpression combines primitives, those that shift offsets included, about
// the hosts of randomFlow.
func randomExpression(r *rand.Rand, depth int) string {
	if depth > 0 && r.IntN(3) > 0 {
		x, y := randomExpression(r, depth-1), randomExpression(r, depth-1)
		switch r.IntN(5) {
		case 0:
			return "not (" + x + ")"
		case 1, 2:
			return "(" + x + " or " + y + ")"
		default:
			return "(" + x + " and " + y + ")"
		}
	}
	n := r.IntN(12)
	v4 := fmt.Sprintf("10.0.%d.%d", n, n*7)
	v6 := fmt.Sprintf("2001:db8:%x:%x:100::%x", n, n%3, n)
	dir := []string{"", "src ", "dst ", "src and dst "}[r.IntN(4)]
	switch r.IntN(15) {
	case 0, 1:
		return dir + "host " + v4
	case 2:
		return dir + "host " + v6
	case 3:
		return fmt.Sprintf("%snet 10.0.%d.0/%d", dir, n&^3, 22+r.IntN(3))
	case 4:
		return fmt.Sprintf("%snet 2001:db8:%x::/%d", dir, n, 48)
	case 5, 6:
		return dir + fmt.Sprint("port ", []int{53, 80, 443, 5060}[r.IntN(4)])
	case 7:
		lo := r.IntN(60000)
		return fmt.Sprintf("%sportrange %d-%d", dir, lo, lo+r.IntN(5000))
	case 8:
		return "vlan"
	case 9:
		return "mpls"
	case 10:
		return "pppoes"
	case 11:
		return []string{"tcp", "udp", "sctp", "icmp", "arp", "ip", "ip6"}[r.IntN(7)]
	case 12:
		return fmt.Sprintf("ip[%d] = %d", r.IntN(24), r.IntN(16))
	case 13:
		return []string{"vxlan", "geneve 7", "protochain 6", "inner (" + randomExpression(r, 0) + ")"}[r.IntN(4)]
	default:
		return []string{"greater 100", "less 100", "vlan 5", "mpls 1"}[r.IntN(4)]
	}
}

// An index never rules out a block with a frame that matches.
func TestBlocksThatMatchAreNeverRuledOut(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 1))
	var frames []rawfile.Record
	for i := range 30 {
		frames = append(frames, archivetest.Traffic(uint64(100+i), 40, 12, archivetest.Day, time.Microsecond)...)
	}
	frames = append(frames, archivetest.Capture(t, "../../../testdata/hosts.pcap")[:300]...)
	c := newCollector()
	entries := make([]Entry, len(frames))
	for i := range frames {
		entries[i] = entryOf(c, frames[i].Data)
	}
	compiled, matched, ruled := 0, 0, 0
	for range 400 {
		expr := randomExpression(r, 3)
		f, err := pcapfilter.Compile(expr)
		if err != nil {
			continue // pcap-filter has no such combination, or nothing could match
		}
		compiled++
		needs := f.Needs()
		for i, rec := range frames {
			match, may := f.Match(rec.Data, int(rec.Len)), entries[i].May(needs)
			if match && !may {
				t.Fatalf("%q matches frame %d, which the index rules out by %v\n%x", expr, i, needs, rec.Data)
			}
			if match {
				matched++
			}
			if !may {
				ruled++
			}
		}
	}
	require.Greater(t, compiled, 100)
	require.NotZero(t, matched)
	require.NotZero(t, ruled)
	t.Logf("%d archivetest.Expressions, %d matches, %d ruled out of %d", compiled, matched, ruled, compiled*len(frames))
}

// FuzzMatch searches for a frame that a filter matches and the index rules out.
func FuzzMatch(f *testing.F) {
	r := rand.New(rand.NewPCG(22, 1))
	for range 40 {
		f.Add(archivetest.RandomFlow(r, 12).Frame(60), randomExpression(r, 3))
	}
	for _, e := range archivetest.Expressions {
		f.Add(archivetest.RandomFlow(r, 12).Frame(60), e)
	}
	c := newCollector()
	f.Fuzz(func(t *testing.T, data []byte, expr string) {
		if len(data) > rawfile.MaxData || len(expr) > 500 {
			return
		}
		x, err := pcapfilter.Compile(expr)
		if err != nil {
			return
		}
		e := entryOf(c, data)
		require.False(t, x.Match(data, len(data)) && !e.May(x.Needs()), "%q needs %v: ruled out", expr, x.Needs())
	})
}

// FuzzParse: Parse does not panic for any bytes, its result is consistent, and a
// sidecar with a changed byte is not complete without an error.
func FuzzParse(f *testing.F) {
	raw := archivetest.Raw(f, archivetest.Traffic(23, 40, 10, archivetest.Day, time.Microsecond))
	good := sidecarOf(f, raw, len(raw))
	f.Add(good, 40, byte(1))
	f.Add(good[:100], 3, byte(0))
	f.Add([]byte(strings.Repeat("\xff", 200)), 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, flip byte) {
		s, err := Parse(b)
		if err != nil {
			require.ErrorIs(t, err, ErrIndex)
			require.False(t, s.Complete)
		}
		end := int64(0)
		for _, e := range s.Entries {
			require.Equal(t, end, e.First)
			require.Greater(t, e.End, e.First)
			end = e.End
			_ = e.has(port(80))
			_ = e.Describes(make([]byte, 30))
		}
		if at >= 0 && at < len(good) && flip != 0 {
			bad := append([]byte(nil), good...)
			bad[at] ^= flip
			s, err := Parse(bad)
			require.False(t, err == nil && s.Complete, "byte %d changed", at)
		}
	})
}

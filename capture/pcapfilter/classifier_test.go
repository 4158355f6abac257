package pcapfilter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/ring"
)

// classifierOf compiles expressions; those that do not compile are left out.
func classifierOf(t testing.TB, expressions []string) *Classifier {
	t.Helper()
	var filters []*Filter
	for _, e := range expressions {
		if f, err := Compile(e); err == nil {
			filters = append(filters, f)
		}
	}
	c, err := NewClassifier(filters)
	require.NoError(t, err)
	return c
}

// firstByMatch applies the filters one by one.
func (c *Classifier) firstByMatch(f testFrame) int {
	for i, filter := range c.filters {
		if filter.Match(f.data, f.wire) {
			return i
		}
	}
	return len(c.filters)
}

// sameAsMatch checks that a batch is divided as Match divides it.
func (c *Classifier) sameAsMatch(t testing.TB, batch []testFrame, which uint64, out *Classes) {
	t.Helper()
	frames := make([]ring.Frame, len(batch))
	for i, f := range batch {
		frames[i] = ring.Frame{Data: f.data, Len: uint32(f.wire)}
	}
	c.Classify(frames, which, out)
	var all uint64
	for _, class := range out.Found() {
		set := out.Frames(class)
		require.NotZero(t, set)
		require.Zero(t, all&set, "a frame in two classes")
		all |= set
		for i, f := range batch {
			if set>>i&1 != 0 {
				want := c.firstByMatch(f)
				require.Equal(t, want, int(class), "%v: % x", c.filters, f.data)
				require.Equal(t, want, c.First(f.data, f.wire), "%v: % x", c.filters, f.data)
			}
		}
	}
	require.Equal(t, which, all)
}

func TestClassifierFindsTheFirstFilterThatMatches(t *testing.T) {
	a := author{rand.New(rand.NewPCG(21, 22))}
	frames := append(sample(t, 20*stride), a.frames(2000/thin)...)
	frames = append(frames, thinned(cuts())...)
	for range 500 / thin {
		n := a.nested(3)
		frames = append(frames, testFrame{n[:len(n)-a.IntN(2)*a.IntN(20)], len(n)})
	}
	many := thinned(expressions())
	for round := range 600 / thin {
		var list []string
		for range a.IntN(12) {
			if a.IntN(2) == 0 {
				list = append(list, a.ownExpr(2))
			} else {
				list = append(list, many[a.IntN(len(many))])
			}
		}
		c := classifierOf(t, list)
		out := c.NewClasses()
		for range 20 {
			batch := make([]testFrame, a.IntN(MaxBatch+1))
			which := uint64(0)
			for i := range batch {
				batch[i] = frames[a.IntN(len(frames))]
				if round%3 == 0 && i > 0 { // equal frames, so that sets are full
					batch[i] = batch[0]
				}
				if a.IntN(10) != 0 {
					which |= 1 << i
				}
			}
			c.sameAsMatch(t, batch, which, out)
		}
	}
}

func TestClassifierOfNoFilterHasOneClass(t *testing.T) {
	c := classifierOf(t, nil)
	require.Zero(t, c.Len())
	require.Zero(t, c.Reach())
	require.Zero(t, c.First(nil, 0))
	out := c.NewClasses()
	c.sameAsMatch(t, make([]testFrame, 3), 5, out)
	require.EqualValues(t, 5, out.Frames(0))
	c.Classify(nil, 0, out)
	require.Empty(t, out.Found())
}

// A frame that is cut at Reach has the same class.
func TestBytesBeyondReachDoNotChangeTheClass(t *testing.T) {
	frames := sample(t, 20*stride)
	for _, p := range encapsulations() {
		frames = append(frames, testFrame{p, len(p)})
	}
	for list, want := range map[string]int{
		"tcp": 55, "port 80": 78, "host 192.0.2.1": 42, "ip": 14, "len = 60": 0, "ether[100:2] = 1": 102, "vlan and port 80": 82,
		"tcp port 80\nvlan 5\nip6": 78, "tcp[13] & 2 != 0": 88, "ip[ip[2:2]:1] = 5": 14 + 65535 + 1,
		"inner (tcp)": innerReach + 71, "vxlan and tcp": 14 + 100 + 16 + 14 + 41, "vlan and protochain 6": 18 + 60 + maxChain*2048,
	} {
		c := classifierOf(t, strings.Split(list, "\n"))
		require.Equal(t, want, c.Reach(), list)
		for _, f := range frames {
			require.Equal(t, c.First(f.data, f.wire), c.First(f.data[:min(len(f.data), c.Reach())], f.wire), "%s: % x", list, f.data)
		}
	}
}

func TestLongListsOfFiltersAreClassified(t *testing.T) {
	var list []string
	for i := range 3000 / thin {
		list = append(list, []string{
			fmt.Sprintf("udp port %d", 2000+i), fmt.Sprintf("net 10.%d.%d.0/24", i/256, i%256), fmt.Sprintf("vlan %d", i%4096), fmt.Sprintf("ether[%d] = 77", 14+i),
		}[i%4])
	}
	c := classifierOf(t, list)
	out := c.NewClasses()
	frames := sample(t, 40*stride)
	for len(frames) > 0 {
		n := min(len(frames), MaxBatch)
		c.sameAsMatch(t, frames[:n], 1<<n-1, out)
		frames = frames[n:]
	}
}

// What it takes to optimize a list grows with its length, not with its square: that a
// frame has the address of one rule rules out all those behind it at once.
func TestLongListsAreOptimizedInStepsOfTheirLength(t *testing.T) {
	steps := func(rules int, expr string) int {
		var filters []*Filter
		for i := range rules {
			f, err := Compile(fmt.Sprintf(expr, i/250, i%250, 1000+i))
			require.NoError(t, err)
			filters = append(filters, f)
		}
		root, leaves := lowerList(filters)
		o := newOptimizer(leaves[rules], rules-1)
		o.reload = true
		o.run(root)
		return maxSteps + 64*len(o.nodes) - o.steps
	}
	for _, expr := range []string{
		"src host 10.%d.%d.7 and tcp port %d", "dst net 10.%d.%d.0/24 and not udp port %d", "ip src 10.%d.%d.1 and tcp[0:2] = %d", "vlan and ip host 10.%d.%d.1 and ip[4:2] > %d",
	} {
		few, many := steps(300, expr), steps(1200, expr)
		require.Less(t, many, 6*few+5000, expr)
	}
}

func TestClassifyDoesNotAllocate(t *testing.T) {
	c := classifierOf(t, []string{"vlan 5 and net 2001:db8::/32", "not udp and portrange 1-100", "ip[ip[0]:1] = 5", "ether[70] = 1", "tcp[13] & 2 != 0", "inner (tcp port 80)", "vxlan and tcp", "protochain 6"})
	out := c.NewClasses()
	var frames []ring.Frame
	for _, f := range sample(t, 1000)[:MaxBatch] {
		frames = append(frames, ring.Frame{Data: f.data, Len: uint32(f.wire)})
	}
	require.Zero(t, testing.AllocsPerRun(20, func() { c.Classify(frames, 1<<63, out); c.Classify(frames, ^uint64(0), out) }))
}

func FuzzClassify(f *testing.F) {
	odd := append(oddFrames(), tunnelled()...)
	corner := append(slices.Clone(own), corner...)
	for i, e := range corner {
		p := odd[i%len(odd)]
		f.Add(e+"\n"+corner[(i*7+3)%len(corner)]+"\n"+corner[(i*5+1)%len(corner)], []byte(p[:min(len(p), 200)]), uint16(len(p)), uint64(i)*0x9e3779b97f4a7c15)
	}
	f.Fuzz(func(t *testing.T, list string, data []byte, wire uint16, which uint64) {
		c := classifierOf(t, strings.Split(list, "\n"))
		batch := make([]testFrame, MaxBatch)
		for i := range batch { // cut everywhere, and whole
			batch[i] = testFrame{data[:len(data)*i/(MaxBatch-1)], int(wire)}
		}
		out := c.NewClasses()
		c.sameAsMatch(t, batch, which, out)
		c.sameAsMatch(t, batch, ^uint64(0), out)
	})
}

func TestAssemblyLoadsAndComparesAsGo(t *testing.T) {
	a := author{rand.New(rand.NewPCG(31, 32))}
	all := append(sample(t, 200*stride), a.frames(500/thin)...)
	all = append(all, thinned(cuts())...)
	var fast, slow, numbers [MaxBatch]uint32
	for range 6000 / thin {
		frames := make([]ring.Frame, a.IntN(MaxBatch+1))
		for i := range frames {
			f := all[a.IntN(len(all))]
			if a.IntN(3) == 0 {
				f.data = f.data[:a.IntN(len(f.data)+1)]
			}
			frames[i].Data = f.data[:len(f.data):len(f.data)]
		}
		base, off := uint32(a.IntN(80)), uint32(a.IntN(80))
		switch a.IntN(10) {
		case 0:
			base, off = 14, ^uint32(0)-off
		case 1:
			base = ^base
		}
		for name, load := range map[string]func(out *[MaxBatch]uint32, inGo bool) uint64{
			"bytes": func(out *[MaxBatch]uint32, inGo bool) uint64 {
				if inGo {
					return loadGo(frames, off, 1, out)
				}
				return loadBytes(frames, off, out)
			},
			"halves": func(out *[MaxBatch]uint32, inGo bool) uint64 {
				if inGo {
					return loadGo(frames, off, 2, out)
				}
				return loadHalves(frames, off, out)
			},
			"words": func(out *[MaxBatch]uint32, inGo bool) uint64 {
				if inGo {
					return loadGo(frames, off, 4, out)
				}
				return loadWords(frames, off, out)
			},
			"words behind IPv4": func(out *[MaxBatch]uint32, inGo bool) uint64 {
				if inGo {
					return loadIPGo(frames, base, off, 4, out)
				}
				return loadIPWords(frames, base, off, out)
			},
			"halves behind IPv4": func(out *[MaxBatch]uint32, inGo bool) uint64 {
				if inGo {
					return loadIPGo(frames, base, off, 2, out)
				}
				return loadIPHalves(frames, base, off, out)
			},
		} {
			clear(fast[:])
			clear(slow[:])
			require.Equal(t, load(&slow, true), load(&fast, false), "%s: base %d, offset %d, %d frames", name, base, off, len(frames))
			require.Equal(t, slow, fast, "%s: base %d, offset %d", name, base, off)
		}
		for i := range numbers {
			numbers[i] = a.Uint32() >> a.IntN(32)
		}
		n, mask, lo, span := a.IntN(MaxBatch+1), a.Uint32()|uint32(a.IntN(2))*0xffffffff, a.Uint32()>>a.IntN(32), a.Uint32()>>a.IntN(32)
		if a.IntN(3) == 0 {
			lo, span = numbers[a.IntN(MaxBatch)]&mask, 0
		}
		within := uint64(1)<<n - 1
		require.Equal(t, compare32Go(&numbers, n, mask, lo, span)&within, compare32(&numbers, n, mask, lo, span)&within, "%x: mask %x, lo %x, span %x", numbers, mask, lo, span)
	}
}

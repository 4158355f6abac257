package pcapfront

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// instances have a share of the flows each. They read files, one after the other.
const instances = 4

// wholeMatrix is set by make pcaptest; without it a few programs run, on a small mix.
var wholeMatrix = os.Getenv("IXCAP_PCAPTEST") != ""

// input is what the programs read.
type input struct {
	name    string
	packets []packet
}

func inputs(t *testing.T) []input {
	t.Helper()
	if !wholeMatrix {
		return []input{{"mix", stamped(mix(t, 40))}}
	}
	all := []input{{"mix", stamped(mix(t, 400))}}
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only a mix is read; put pcap files there for more")
	}
	for _, name := range more {
		all = append(all, input{strings.TrimSuffix(filepath.Base(name), ".pcap"), readPcap(t, name)})
	}
	return all
}

// TestMergedOutputOfFourInstances gives each of four instances the packets of its flows as
// a file. What they write, merged, is what one instance writes that reads all packets.
func TestMergedOutputOfFourInstances(t *testing.T) {
	selected := programs
	if !wholeMatrix {
		selected = programs[:2]
	}
	for _, in := range inputs(t) {
		for _, p := range selected {
			t.Run(p.name+"/"+in.name, func(t *testing.T) {
				p.requireInstalled(t)
				if p.onlyMix != "" && in.name != "mix" {
					t.Skipf("%s is compared on the mix alone: of other captures, four instances need not print what one does, because %s", p.name, p.onlyMix)
				}
				checkMerged(t, p, in)
			})
		}
	}
}

// checkMerged compares four instances with one.
func checkMerged(t *testing.T, p program, in input) {
	t.Helper()
	dir := p.temp(t)
	run := func(name string, packets []packet) []string {
		in := newInstance(t, &p, filepath.Join(dir, name))
		in.file = in.dir + ".pcap"
		writePcap(t, in.file, packets, false)
		return in.run(t)
	}
	want := run("one", in.packets)
	var got []string
	for i, part := range share(in.packets, instances) {
		if len(part) > 0 {
			got = append(got, run(fmt.Sprint("share", i), part)...)
		}
	}
	if p.sums {
		got, want = addUp(t, got), addUp(t, want)
	}
	requireSameLines(t, want, got)
	if len(want) == 0 && in.name != "mix" {
		t.Skipf("nothing to compare: %s has nothing to report of the packets of %s, alone as in four instances", p.name, in.name)
	}
	require.NotEmpty(t, want)
	t.Logf("%s %s: %d lines from %d packets", p.name, p.version(t), len(want), len(in.packets))
}

// requireSameLines compares lines in any order, and prints few of those that differ.
func requireSameLines(t *testing.T, want, got []string) {
	t.Helper()
	count := map[string]int{}
	for _, l := range want {
		count[l]++
	}
	for _, l := range got {
		count[l]--
	}
	var missing, extra []string
	for l, n := range count {
		switch {
		case n > 0:
			missing = append(missing, l)
		case n < 0:
			extra = append(extra, l)
		}
	}
	slices.Sort(missing)
	slices.Sort(extra)
	require.True(t, len(missing)+len(extra) == 0, "%d lines of one instance alone:\n%s\n%d lines of the four alone:\n%s",
		len(missing), strings.Join(missing[:min(5, len(missing))], "\n"), len(extra), strings.Join(extra[:min(5, len(extra))], "\n"))
}

func TestSharesHaveWholeFlows(t *testing.T) {
	packets := stamped(mix(t, 100))
	parts := share(packets, instances)
	hosts := map[string]int{} // of conversations that have a pair of hosts to themselves
	n := 0
	for i, part := range parts {
		require.Greater(t, len(part), len(packets)/20, "share %d", i)
		n += len(part)
		for _, p := range part {
			ip := p.data[14:]
			if ip[0]>>4 != 4 || ip[13]>>4 < 5 { // not the fifth kind of hosts and later
				continue
			}
			a, b := string(ip[12:16]), string(ip[16:20])
			pair := min(a, b) + max(a, b)
			if at, seen := hosts[pair]; seen {
				require.Equal(t, at, i, "% x", p.data[:42])
			}
			hosts[pair] = i
		}
	}
	require.Equal(t, len(packets), n)
}

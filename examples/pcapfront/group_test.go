package pcapfront

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFourInstancesInAGroup lets four instances of each program capture from a port of each
// kind as members of one group. What they write, merged, is what one instance writes of a
// file with the same packets, which it reads with the system's libpcap.
func TestFourInstancesInAGroup(t *testing.T) {
	lib := front(t, t.TempDir())
	selected, packets := programs, stamped(mix(t, 400))
	if !wholeMatrix {
		selected, packets = programs[:1], stamped(mix(t, 40))
	}
	for _, s := range sources {
		for _, p := range selected {
			t.Run(s.name+"/"+p.name, func(t *testing.T) {
				p.requireInstalled(t)
				checkGroup(t, &p, s, lib, packets)
			})
		}
	}
}

// TestFourInstancesOfRealTraffic is the same with the largest of the captures of real
// networks on the model's wire.
func TestFourInstancesOfRealTraffic(t *testing.T) {
	if !wholeMatrix {
		t.Skip("takes minutes and is not part of make test: run make pcaptest")
	}
	all := inputs(t)
	if len(all) == 1 {
		t.Skip("no captures in ../shared/pcaps, beside the checkout: put pcap files there")
	}
	largest := slices.MaxFunc(all[1:], func(a, b input) int { return len(a.packets) - len(b.packets) })
	for i := range largest.packets {
		largest.packets[i].stamp = mixStart.Add(time.Duration(i) * packetGap / 10)
	}
	lib := front(t, t.TempDir())
	for _, p := range programs {
		if p.onlyMix != "" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			p.requireInstalled(t)
			checkGroup(t, &p, sources[0], lib, largest.packets)
		})
	}
}

func checkGroup(t *testing.T, p *program, s source, lib string, sent []packet) {
	t.Helper()
	l := s.open(t, p, sent)
	dir := p.temp(t)
	var all []*instance
	var commands []*exec.Cmd
	env := append(l.environ(p, lib), "PCAP_GROUP=7", "PCAP_FANOUT=hash")
	for i := range instances {
		in := newInstance(t, p, filepath.Join(dir, fmt.Sprint("member", i)))
		all = append(all, in)
		commands = append(commands, l.start(in, env, i+1))
	}
	l.run(len(sent))
	l.checkMembers(len(sent))
	l.finish(all, commands)
	requireWholeFlows(t, all)
	var got []string
	for _, in := range all {
		got = append(got, p.read(t, in)...)
	}
	want := l.reference(p, dir)
	if p.sums {
		got, want = addUp(t, got), addUp(t, want)
	}
	requireSameLines(t, want, got)
	require.NotEmpty(t, got)
	t.Logf("%s %s: %d lines from %d packets", p.name, p.version(t), len(got), len(sent))
}

// checkMembers requires that each frame has gone to one of the members and was read, and
// that each member has a share.
func (l *live) checkMembers(frames int) {
	l.t.Helper()
	stored, read := uint64(0), map[string]uint64{}
	for q := range l.capture.Engine().Queues() {
		groups := l.capture.Engine().Stream(q).Stats().Groups
		require.Len(l.t, groups, 1)
		g := groups[0]
		require.NoError(l.t, g.Balanced())
		require.Zero(l.t, g.WithoutMembers+g.Unmatched)
		for _, m := range g.Members {
			require.Equal(l.t, m.Assigned, m.Read, "queue %d, member %s", q, m.Name)
			read[m.Name] += m.Read
		}
		require.Greater(l.t, g.Stored, uint64(frames/10), "queue %d", q)
		stored += g.Stored
	}
	require.EqualValues(l.t, frames, stored)
	require.Len(l.t, read, instances)
	for name, n := range read {
		require.Greater(l.t, n, stored/20, "member %s", name)
		stored -= n
	}
	require.Zero(l.t, stored)
}

// requireWholeFlows requires that each flow of TCP, UDP and SCTP is in the packets of one instance alone, if the
// program stores packets.
func requireWholeFlows(t *testing.T, all []*instance) {
	t.Helper()
	owner := map[string]int{}
	for i, in := range all {
		if in.program.stored == "" {
			return
		}
		s := sharer{fragments: map[string]string{}}
		for _, p := range readPcap(t, in.path(in.program.stored)) {
			flow := s.flow(p.data)
			if flow == "" || !hasPorts(flow[len(flow)-1]) {
				continue // a group gives an ICMP error to the flow that it quotes
			}
			if at, seen := owner[flow]; seen {
				require.Equal(t, at, i, "% x", p.data[:min(42, len(p.data))])
			}
			owner[flow] = i
		}
	}
	require.Greater(t, len(owner), instances)
}

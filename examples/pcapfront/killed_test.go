package pcapfront

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
)

// TestKilledInstanceOfAGroup kills one of four instances of tcpdump during the traffic.
// The others get what it had not read: no packet is in two files, and none is missing but
// those that the account says were in its hands.
func TestKilledInstanceOfAGroup(t *testing.T) {
	lib := front(t, t.TempDir())
	p := programs[0]
	p.requireInstalled(t)
	p.args = func(_ *testing.T, in *instance) []string {
		return append(in.input("-r", "-i"), "-U", "-w", in.path(in.program.stored)) // each packet is written at once
	}
	sent := stamped(mix(t, 80))
	l := model(1)(t, &p, sent)
	dir := p.temp(t)
	var all []*instance
	var commands []*exec.Cmd
	env := append(l.environ(&p, lib), "PCAP_GROUP=7", "PCAP_FANOUT=hash")
	for i := range instances {
		in := newInstance(t, &p, filepath.Join(dir, fmt.Sprint("member", i)))
		all = append(all, in)
		commands = append(commands, l.start(in, env, i+1))
	}
	require.NoError(t, l.capture.Engine().Start())
	l.waitGroup("half of the frames are not captured", func(g *stream.GroupStats) bool { return g.Stored > uint64(len(sent)/2) })
	require.NoError(t, commands[1].Process.Signal(unix.SIGKILL))
	require.Error(t, commands[1].Wait())
	g := l.waitGroup("not all frames are read", func(g *stream.GroupStats) bool {
		return g.Stored == uint64(len(sent)) && g.DepartedMembers == 1 && g.Sum().Unread == 0 && g.HandedUnread == 0
	})
	require.NoError(t, g.Balanced())
	require.Zero(t, g.Sum().Overrun+g.HandedLost)
	l.finish(slices.Delete(slices.Clone(all), 1, 2), slices.Delete(commands, 1, 2))

	var got []string
	for _, in := range all {
		got = append(got, packetLines(t, in.path(p.stored))...)
	}
	written := len(got)
	slices.Sort(got)
	require.Len(t, slices.Compact(got), written, "packets are in two files")
	require.LessOrEqual(t, uint64(len(sent)-written), g.Sum().InHand)
	t.Logf("%d packets, %d written, %d in hand, %d redistributed", len(sent), written, g.Sum().InHand, g.Sum().Redistributed)
}

// waitGroup waits until the capture's group is as asked.
func (l *live) waitGroup(why string, f func(*stream.GroupStats) bool) *stream.GroupStats {
	l.t.Helper()
	var g stream.GroupStats
	require.Eventually(l.t, func() bool {
		g = l.capture.Engine().Stream(0).Stats().Groups[0]
		return f(&g)
	}, testtime.Deadline, 5*time.Millisecond, why)
	return &g
}

package test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
)

// One file puts devices in different groups: two programs share eth0, and a third reads
// eth0 once more, as a virtual device, together with eth1.
func TestGroupsOfAConfigurationFile(t *testing.T) {
	b := sanitized(t)
	dir := t.TempDir()
	eth0, eth1 := serve(t, dir, "eth0-queue0.sock", stream.Config{}), serve(t, dir, "eth1-queue0.sock", stream.Config{})
	conf := filepath.Join(dir, "pcap.conf")
	require.NoError(t, os.WriteFile(conf, []byte(`
group_eth0 = 1
group_eth0:1 = 2
group_eth1 = 2
fanout@1 = lb
fanout@2 = consistent, weight=3, tunnels=gre+vxlan, departed=count
policy@2 = lossless
caplen = 50
`), 0o644))
	var all []*driver
	for _, device := range []string{"ixcap:eth0", "ixcap:eth0", "ixcap:eth0:1^eth1"} {
		d := b.start(t, "IXCAP_SHARE="+dir, "PCAP_CONFIG="+conf)
		d.open(device, "set_timeout 20")
		all = append(all, d)
	}
	eth0.attached(3)
	eth1.attached(1)

	for _, d := range all {
		d.send("loop -1")
	}
	eth0.store(100)
	eth1.store(40)
	groups := eth0.Stats().Groups
	require.Len(t, groups, 2)
	require.Equal(t, []any{1, "lb", "none", 2}, []any{groups[0].Group, groups[0].Mode, groups[0].Tunnels, len(groups[0].Members)})
	require.Equal(t, []any{2, "consistent", "gre,vxlan", 1}, []any{groups[1].Group, groups[1].Mode, groups[1].Tunnels, len(groups[1].Members)})
	require.Equal(t, eth1.Stats().Groups[0].Members[0].Name, groups[1].Members[0].Name, "the queues of a handle have one name")
	eth0.Producer().Finish()
	eth1.Producer().Finish()
	for i, frames := range []int{50, 50, 140} {
		answer := all[i].receive()
		require.Equal(t, frames, number(t, answer, 1), answer)
		require.Equal(t, 50*frames, number(t, answer, 2), answer)
		all[i].end()
	}
	for _, s := range []*served{eth0, eth1} {
		for _, g := range s.Stats().Groups {
			require.NoError(t, g.Balanced())
		}
	}
}

// pcap_fanout makes a member of a handle that reads; one that the group refuses reads on.
func TestFanoutOfAnActiveHandle(t *testing.T) {
	b := sanitized(t)
	s := single(t, stream.Config{})
	d, other := b.start(t), b.start(t)
	d.open("ixcap:"+s.path, "set_timeout 20")
	other.open("ixcap:"+s.path, "set_timeout 20")
	s.store(10)
	require.Equal(t, result(0, s.packets, false), d.do("loop 10"))
	require.Equal(t, result(0, s.packets, false), other.do("loop 10"))

	require.Equal(t, "0", d.do("fanout 7 lb, member=a"))
	s.attached(2)
	require.Contains(t, other.do("fanout 7 hash"), "-1 attach to "+s.path+": the capture says: ")
	s.store(10)
	require.Equal(t, result(0, s.packets[10:], false), other.do("loop 10"), "it reads on as no member")
	require.Equal(t, result(0, s.packets[10:], false), d.do("loop 10"))
	require.Equal(t, "0 10 0 0", d.do("stats 0"), "since it is a member")

	require.Equal(t, "0", other.do("fanout 7 lb, member=b"))
	s.attached(2)
	s.store(10)
	require.Equal(t, "0 5", d.do("loop 5")[:3])
	require.Equal(t, "0 5", other.do("loop 5")[:3])
	d.end()
	other.end()
}

// A handle whose group is refused, or whose configuration is wrong by now, reads on as it was.
func TestFailedFanoutChangesNothing(t *testing.T) {
	b := sanitized(t)
	s := single(t, stream.Config{})
	conf := filepath.Join(t.TempDir(), "pcap.conf")
	write := func(text string) { require.NoError(t, os.WriteFile(conf, []byte(text), 0o600)) }
	write("caplen = 40\n")
	d, first := b.start(t, "PCAP_CONFIG="+conf), b.start(t)
	first.open("ixcap:"+s.path, "set_timeout 20")
	require.Equal(t, "0", first.do("fanout 7 lb"))
	d.open("ixcap:"+s.path, "set_timeout 20")
	require.Contains(t, d.do("fanout 7 hash"), "-1 attach to ")
	write("caplen = none\n")
	require.Contains(t, d.do("fanout 7 lb"), "-1 "+conf+":1: ")
	require.Contains(t, d.do("fanout 7 hsah"), "-1 ")
	s.store(10)
	require.Equal(t, result(0, cut(s.packets, 40), false), d.do("loop 10"))
	write("caplen = 40\n")
	require.Equal(t, "0", d.do("fanout 7 lb"))
	s.attached(2)
	d.end()
	first.end()
}

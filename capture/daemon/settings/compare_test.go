package settings_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/internal/mounttest"
	_ "github.com/ixcap/ixcap/sim"
)

func parse(t *testing.T, text string) *settings.Settings {
	t.Helper()
	s, err := settings.Parse("f", text)
	require.NoError(t, err)
	return s
}

// live are the keys of the changes with Live set to want.
func live(changes []settings.Change, want bool) (keys []string) {
	for _, c := range changes {
		if c.Live == want {
			keys = append(keys, c.Key)
		}
	}
	slices.Sort(keys)
	return keys
}

const before = `
[port.a]
device = "sim:gen"
snaplen = 1000
[port.b]
device = "sim:gen,x"
[storage]
dirs = ["/x"]
rotate = "1h"
[retention]
size = "1TiB"
`

func TestCompareMarksWhatARunningCaptureCanApply(t *testing.T) {
	started := parse(t, before)
	require.Empty(t, settings.Compare(started, started, parse(t, before)))

	next := parse(t, `
[port.a]
device = "sim:gen"
rules = "(udp) all; 64"
snaplen = 96
buffer = "1GiB"
[port.b]
device = "sim:gen,x"
dedup = true
[port.c]
device = "sim:gen,y"
[storage]
dirs = ["/x", "/y"]
rotate = "15m"
[retention]
age = "7d"
[share]
dir = "/run/x"
[metrics]
listen = ":1"
`)
	changes := settings.Compare(started, started, next)
	require.Equal(t, []string{
		"port.a.rules", "port.a.snaplen", "port.a.storage.rotate", "port.b.storage.rotate", "retention.age", "retention.size",
	}, live(changes, true))
	require.Equal(t, []string{
		"metrics.listen", "port.a.buffer", "port.a.storage.dirs", "port.b.dedup", "port.b.storage.dirs", "port.c", "share.dir",
	}, live(changes, false))
	var lines []string
	for _, c := range changes {
		lines = append(lines, c.String())
	}
	require.Contains(t, lines, "port.a.rules: (udp) all; 64 instead of none")
	require.Contains(t, lines, "port.a.storage.rotate: 15m instead of 1h")
	require.Contains(t, lines, "port.b.dedup: window=200ms,records=32768,pools=8,index=content,bytes=0,ignore=none instead of none")
	require.Contains(t, lines, "port.c: sim:gen,y instead of none")

	running := parse(t, before)
	running.Take(started, next)
	changes = settings.Compare(started, running, next)
	require.Empty(t, live(changes, true), "everything live is applied")
	require.Len(t, changes, 7)
	rules, err := running.Ports[0].LiveRules(1000)
	require.NoError(t, err)
	require.Equal(t, "(udp) 96; 64", rules.String())

	gone := settings.Compare(started, started, parse(t, strings.Replace(before, "port.b", "port.d", 1)))
	require.Equal(t, []string{"port.b", "port.d"}, live(gone, false))
}

func TestSnaplenGrowsOnlyUpToTheFirst(t *testing.T) {
	for _, c := range []struct {
		started, next string
		live          bool
		rules         string
	}{
		{"0", "96", true, "96"},
		{"96", "64", true, "64"},
		{"96", "96", true, ""},
		{"96", "97", false, ""},
		{"96", "0", false, ""},
		{"0", "96\nrules = \"(udp) headers\"", false, ""},
		{"96", "96\nrules = \"(udp) headers\"", true, "(udp) headers; all"},
	} {
		started, next := parse(t, good+"snaplen = "+c.started), parse(t, good+"snaplen = "+c.next)
		for _, change := range settings.Compare(started, started, next) {
			require.Equal(t, c.live, change.Live, "%+v: %v", c, change)
		}
		rules, err := next.Ports[0].LiveRules(started.Ports[0].SnapLen)
		require.Equal(t, c.live, err == nil)
		running := parse(t, good+"snaplen = "+c.started)
		running.Take(started, next)
		require.Equal(t, c.live, len(settings.Compare(started, running, next)) == 0)
		if c.rules == "" {
			require.Nil(t, rules)
		} else {
			require.Equal(t, c.rules, rules.String())
		}
	}
}

func TestCheckMachineFindsWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	text := func(cores, dirs, share, metrics string) *settings.Settings {
		return parse(t, `
[port.a]
device = "sim:gen"
queues = 2
cores = `+cores+`
[storage]
dirs = `+dirs+`
[share]
dir = "`+share+`"
[metrics]
listen = "`+metrics+`"
`)
	}
	m := settings.Machine{Cores: []int{0, 1, 2, 3}}
	require.Empty(t, text("[2, 3]", `["`+dir+`", "`+dir+`/new"]`, dir, "127.0.0.1:0").CheckMachine(m))

	problems := text("[3, 4]", `["`+dir+`/a/b", "`+file+`", "`+file+`/x"]`, file, "192.0.2.77:9482").CheckMachine(m)
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.Error())
	}
	require.Len(t, lines, 6, "%q", lines)
	require.Equal(t, "f:5: port.a.cores: core 4: this machine has the cores 0-3", lines[0])
	require.Contains(t, lines[1], "f:7: storage.dirs: "+dir+"/a/b: no such file or directory: create it with mkdir -p "+dir+"/a/b")
	require.Contains(t, lines[2], "not a directory")
	require.Contains(t, lines[4], "f:9: share.dir: "+file+": not a directory")
	require.Contains(t, lines[5], "f:11: metrics.listen: 192.0.2.77:9482: ")

	checked := ""
	m.Device = func(device string) error { checked = device; return unix.ENODEV }
	problems = text("[2, 3]", `"null"`, "none", "none").CheckMachine(m)
	require.Len(t, problems, 1)
	require.EqualError(t, problems[0], "f:3: port.a.device: sim:gen: no such device")
	require.Equal(t, "sim:gen", checked)

	s := parse(t, good+"[port.k]\ndevice = \"ffff:ff:1f.7\"\nmode = \"kernel\"\n[port.m]\ndevice = \"sim:gen,x\"\nmode = \"kernel\"")
	problems = s.CheckMachine(settings.Machine{})
	require.Len(t, problems, 2)
	require.ErrorContains(t, problems[0], "f:6: port.k.device: ffff:ff:1f.7: ")
	require.ErrorContains(t, problems[1], "only a port of this machine can be left to the kernel")
}

func TestReadOnlyFolderIsFound(t *testing.T) {
	dir := t.TempDir()
	mounttest.ReadOnly(t, dir)
	s := parse(t, good+"[hpcapmon]\ndir = \""+dir+"\"")
	problems := s.CheckMachine(settings.Machine{})
	require.Len(t, problems, 1)
	require.ErrorContains(t, problems[0], "read-only file system: allow this user to write there")

	s = parse(t, good+"[hpcapmon]\ndir = \""+dir+"/new/\"")
	problems = s.CheckMachine(settings.Machine{})
	require.Len(t, problems, 1)
	require.ErrorContains(t, problems[0], "hpcapmon.dir: "+dir+"/new: does not exist and cannot be created in "+dir+
		": read-only file system: sudo mkdir "+dir+"/new, and allow this user to write there")
}

func TestSummary(t *testing.T) {
	s, err := settings.Load(example)
	require.NoError(t, err)
	require.Equal(t, `hpcap0  0000:03:00.0, 2 queues on cores 2,3, buffer 1GiB, 10000 Mb/s, filters in the port, filtered, raw files of 2GiB or 1h to /data0, /data1
hpcap1  0000:03:00.1, left to the kernel
retention 20TiB, 14d, 100GiB free, 20000 files; sockets in /run/ixcap/share; metrics at 127.0.0.1:9482; hpcapmon files in /var/lib/ixcap/hpcapmon
`, s.Summary())
}

package daemon_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/hugepage"
)

func TestCheckReturnsAllThatIsWrongAndOpensNothing(t *testing.T) {
	dir := folder(t)
	var out strings.Builder
	require.NoError(t, daemon.Check(&out, parse(t, "[port.one]\ndevice = \"sim:gen,count=10\"\nstorage.dirs = \""+dir+"/files\"")))
	lines := strings.Split(out.String(), "\n")
	require.Len(t, lines, 5)
	require.Equal(t, []string{"f: ok", "one  sim:gen,count=10, 1 queue, buffer 256MiB, raw files of 2GiB to " + dir + "/files"}, lines[:2])
	require.Regexp(t, `^opened sim:gen,count=10: pollers .*, 256MiB in ordinary pages$`, lines[2])
	require.Regexp(t, `^folder `+dir+`/files: writable.*, [0-9.]+ GiB free$`, lines[3])
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)

	out.Reset()
	require.NoError(t, daemon.Check(&out, parse(t, "[port.one]\ndevice = \"sim:gen,count=10\"\nqueues = 2\nzero_copy = true\nchunks = 40\nstorage.dirs = \"null\"")))
	require.Contains(t, out.String(), "sim:gen,count=10, 2 queues, zero copy, 40 chunks, nothing stored\n")
	require.Contains(t, out.String(), ", 42240KiB in ordinary pages\nzero copy: each queue has a pool of 40 chunks of 256 packet buffers, 20.6 MiB: 688µs of the shortest frames at line rate\n")

	out.Reset()
	err = daemon.Check(&out, parse(t, `[port.one]
device = "sim:pidgeon"
cores = [1000]
storage.dirs = "`+dir+`/no/such"
[port.two]
device = "vfio-user:`+dir+`/none.sock"
storage.dirs = "null"
[port.three]
device = "smoke-signal:x"
storage.dirs = "`+dir+`"
[port.four]
device = "0000:ff:1f.7"
mode = "kernel"
[retention]
free = "1000000TiB"
`))
	require.Error(t, err)
	require.Empty(t, out.String())
	lines = strings.Split(err.Error(), "\n")
	require.Len(t, lines, 7, "%q", lines)
	for i, want := range []string{":2: ", ":3: ", ":4: ", ":6: ", ":9: ", ":12: "} {
		require.Contains(t, lines[i], "f"+want)
	}
	require.Contains(t, lines[4], "want a PCI address")
	require.Contains(t, lines[6], "retention: ")
}

// What Check refuses does not start, for the same reason; what it passes starts.
func TestCheckFailsExactlyWhereStartingFails(t *testing.T) {
	dir := folder(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	socket, err := net.Listen("unix", filepath.Join(dir, "control.sock"))
	require.NoError(t, err)
	defer socket.Close()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	missing := "memory"
	if state, err := hugepage.ReadState(hugepage.Sysfs, hugepage.Size1G, hugepage.AnyNode); err != nil || state.Available() < 3 {
		missing = "pages"
	}
	for name, c := range map[string]struct{ port, more, want string }{
		"nothing wrong":      {`storage.dirs = "` + dir + `/new"`, "[share]\ndir = \"" + dir + "/share\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[hpcapmon]\ndir = \"" + dir + "/mon\"", ""},
		"buffer":             {"buffer = \"64TiB\"", "", "the machine has"},
		"huge pages":         {"buffer = \"1024GiB\"\npages = \"1GiB\"", "", missing},
		"core":               {"cores = [1000]", "", "port.a.cores: core 1000"},
		"priority":           {"fifo = 50\nqueues = 16", "", "none would be left"},
		"interface":          {"", "[port.b]\ndevice = \"packet:nosuch\"\nstorage.dirs = \"null\"", `interface "nosuch": no such interface`},
		"folder":             {`storage.dirs = "` + file + `"`, "", "not a directory"},
		"no folder":          {`storage.dirs = "` + dir + `/no/such"`, "", "mkdir -p"},
		"no files in folder": {`storage.dirs = "/proc/self"`, "", "/proc/self"},
		"command":            {`storage.dirs = "` + dir + `/new"` + "\nstorage.command = \"" + file + "\"", "", "name an executable file"},
		"kernel":             {"", "[port.b]\ndevice = \"ffff:ff:1f.7\"\nmode = \"kernel\"", "port.b.device"},
		"retention":          {`storage.dirs = "` + dir + `/new"`, "[retention]\nfree = \"1000000TiB\"", "retention: "},
		"share":              {"", "[share]\ndir = \"" + dir + "/no/such\"", "share.dir: "},
		"socket in use":      {"", "[share]\ndir = \"" + dir + "\"", "another program serves this socket"},
		"address in use":     {"", "[metrics]\nlisten = \"" + taken.Addr().String() + "\"", "address already in use"},
		"address":            {"", "[metrics]\nlisten = \"192.0.2.77:9482\"", "cannot assign"},
		"hpcapmon":           {"", "[hpcapmon]\ndir = \"" + file + "\"", "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			port := "[port.a]\ndevice = \"sim:gen,rate=1kpps\"\n" + c.port + "\n"
			for _, d := range []struct{ key, line string }{{"buffer", "buffer = \"4MiB\"\n"}, {"storage.dirs", "storage.dirs = \"null\"\n"}} {
				if !strings.Contains(c.port, d.key) {
					port += d.line
				}
			}
			s := parse(t, port+c.more)
			before := files(t, dir, "*")
			var out strings.Builder
			checked := daemon.Check(&out, s)
			require.Equal(t, before, files(t, dir, "*"), "the check leaves nothing")
			d, started := daemon.Open(s, daemon.Config{})
			if c.want == "" {
				require.NoError(t, checked)
				require.NoError(t, started)
				require.Contains(t, out.String(), "opened sim:gen")
				require.NoError(t, d.Close())
				return
			}
			require.ErrorContains(t, checked, c.want)
			same := func(err error) string { // but for the memory that other processes use
				return regexp.MustCompile(`[0-9]+ MiB available`).ReplaceAllString(err.Error(), "")
			}
			require.Error(t, started)
			require.Equal(t, same(checked), same(started))
			require.Empty(t, out.String())
		})
	}
}

func TestCheckOfARunningCaptureOpensNothing(t *testing.T) {
	dir := folder(t)
	text := "[port.a]\ndevice = \"sim:gen,rate=1kpps\"\nbuffer = \"4MiB\"\nstorage.dirs = \"null\"\n[share]\ndir = \"" + dir + "/share\""
	r := open(t, parse(t, text), daemon.Config{})
	r.start(t)
	var out strings.Builder
	require.NoError(t, daemon.Check(&out, parse(t, text)))
	require.Contains(t, out.String(), "\nrunning in process ")
	require.NotContains(t, out.String(), "opened")
	err := daemon.Check(&out, parse(t, strings.Replace(text, "buffer", "cores = [1000]\nbuffer", 1)))
	require.ErrorContains(t, err, "core 1000")
	require.Error(t, daemon.Check(&out, parse(t, strings.Replace(text, "1kpps", "2kpps", 1))), "of other ports: the socket is in use")
}

package daemon_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon"
)

func TestCheckReturnsAllThatIsWrongAndOpensNothing(t *testing.T) {
	dir := folder(t)
	var out strings.Builder
	require.NoError(t, daemon.Check(&out, parse(t, "[port.one]\ndevice = \"sim:gen,count=10\"\nstorage.dirs = \""+dir+"/files\"")))
	require.Equal(t, "f: ok\none  sim:gen,count=10, 1 queue, buffer 256MiB, raw files of 2GiB to "+dir+"/files\n", out.String())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)

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
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 7, "%q", lines)
	for i, want := range []string{":2: ", ":3: ", ":4: ", ":6: ", ":9: ", ":12: "} {
		require.Contains(t, lines[i], "f"+want)
	}
	require.Contains(t, lines[4], "want a PCI address")
	require.Contains(t, lines[6], "retention: ")
}

package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/internal/testtime"
)

func TestSeveralPortsAreCapturedToTheirFiles(t *testing.T) {
	dir := t.TempDir()
	s := parse(t, `
[defaults]
buffer = "8MiB"
[storage]
dirs = "`+dir+`"
segment = "1MiB"
[port.a]
device = "sim:gen,count=3000,size=600-1500,flows=16,backpressure"
queues = 2
[port.b]
device = "sim:gen,count=1000,size=60,backpressure,seed=2"
storage.format = "pcapng"
[port.office]
device = "0000:00:00.0"
mode = "kernel"
[hpcapmon]
dir = "`+dir+`/mon"
[retention]
size = "1GiB"
`)
	r := open(t, s, daemon.Config{})
	require.NoError(t, r.Run(t.Context()))
	all := r.Ledgers()
	require.Len(t, all, 2, "a port of the kernel is not captured")
	for i, want := range []struct {
		name   string
		frames uint64
		queues int
	}{{"a", 3000, 2}, {"b", 1000, 1}} {
		require.NoError(t, all[i].Err)
		require.NoError(t, all[i].Ledger.Balanced())
		require.Equal(t, want.name, all[i].Name)
		require.Equal(t, want.frames, all[i].Ledger.Frames())
		require.Len(t, all[i].Ledger.Storers, want.queues)
	}
	require.NotEmpty(t, files(t, dir, "*-a-q00-*.raw"))
	require.NotEmpty(t, files(t, dir, "*-a-q01-*.raw"))
	require.NotEmpty(t, files(t, dir, "*-b-q00-*.pcapng"))
	require.DirExists(t, filepath.Join(dir, "mon"))

	var text strings.Builder
	require.NoError(t, daemon.WriteText(&text, all))
	require.Contains(t, text.String(), "a:\n")
	require.Contains(t, text.String(), "b:\n")
	require.Equal(t, 2, strings.Count(text.String(), "the ledger balances"))
	text.Reset()
	require.NoError(t, daemon.WriteJSON(&text, all))
	var back map[string]capture.Ledger
	require.NoError(t, json.Unmarshal([]byte(text.String()), &back))
	require.Len(t, back, 2)
	require.EqualValues(t, 3000, back["a"].Frames())
	require.Equal(t, 2, strings.Count(text.String(), `"balanced": true`))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close(), "again")
}

func TestLedgerOfAPortWithoutANameStandsAlone(t *testing.T) {
	s := settings.New()
	p := settings.Defaults()
	p.Device, p.Buffer, p.Storage.Dirs = "sim:gen,count=100,size=60,backpressure", 8<<20, settings.Dirs{recorder.Null}
	s.Ports = []settings.Port{p}
	require.Empty(t, s.Check())
	r := open(t, s, daemon.Config{})
	require.NoError(t, r.Run(t.Context()))
	var text strings.Builder
	require.NoError(t, daemon.WriteJSON(&text, r.Ledgers()))
	var l capture.Ledger
	require.NoError(t, json.Unmarshal([]byte(text.String()), &l))
	require.EqualValues(t, 100, l.Frames())
	text.Reset()
	require.NoError(t, daemon.WriteText(&text, r.Ledgers()))
	require.True(t, strings.HasPrefix(text.String(), l.Port) || strings.Contains(text.String(), "sim:gen"))
	text.Reset()
	require.NoError(t, daemon.WriteJSON(&text, nil))
	require.NoError(t, daemon.WriteText(&text, nil))
	require.Empty(t, text.String())
}

func TestFailedOpenLeavesNothingOpen(t *testing.T) {
	dir := folder(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	good := "[defaults]\nbuffer = \"8MiB\"\n[storage]\ndirs = \"" + dir + "/files\"\n[port.a]\ndevice = \"sim:gen,backpressure\"\n"
	for name, c := range map[string]struct{ text, want string }{
		"device":  {"[port.b]\ndevice = \"vfio-user:" + dir + "/none\"\n[share]\ndir = \"" + dir + "/share\"", "port.b.device: vfio-user:"},
		"folder":  {"[port.b]\ndevice = \"sim:gen,x\"\nstorage.dirs = \"" + dir + "/file\"", "not a directory"},
		"open":    {"buffer = \"4MiB\"\n[port.b]\ndevice = \"sim:gen,seed=3\"\nbuffer = \"64TiB\"", "b: make stream: "},
		"share":   {"[share]\ndir = \"" + dir + "/no/such\"", "share.dir: "},
		"metrics": {"[share]\ndir = \"" + dir + "/share\"\n[metrics]\nlisten = \"" + taken.Addr().String() + "\"", "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			s := parse(t, good+strings.Replace(c.text, "sim:gen,x", "sim:gen,seed=3", 1))
			before := descriptors(t)
			_, err := daemon.Open(s, daemon.Config{})
			require.ErrorContains(t, err, c.want)
			require.NoDirExists(t, filepath.Join(dir, "share"))
			require.Eventually(t, func() bool { return descriptors(t) <= before }, testtime.Deadline, time.Millisecond, "a descriptor is left open")
		})
	}
}

func TestFailedPortDoesNotEndTheOthers(t *testing.T) {
	r := open(t, parse(t, `
[defaults]
buffer = "8MiB"
[storage]
dirs = "null"
[port.bad]
device = "sim:gen,rate=1kpps,fault=remove:50"
[port.good]
device = "sim:gen,count=3000,rate=10kpps,size=60,backpressure"
`), daemon.Config{})
	require.NoError(t, r.Run(t.Context()))
	all := r.Ledgers()
	require.ErrorContains(t, all[0].Err, "bad: ")
	require.NoError(t, all[1].Err)
	require.EqualValues(t, 3000, all[1].Ledger.Frames())
	require.Contains(t, r.log.Text(), "port=bad")
}

func TestRunEndsAfterTheDurationOrWithItsContext(t *testing.T) {
	text := "[port.a]\ndevice = \"sim:gen,rate=1kpps\"\nbuffer = \"8MiB\"\nstorage.dirs = \"null\""
	shown := make(chan capture.Rate, 100)
	r := open(t, parse(t, text), daemon.Config{Duration: 1500 * time.Millisecond, Progress: func(now capture.Rate) { shown <- now }})
	began := time.Now()
	require.NoError(t, r.Run(t.Context()))
	require.GreaterOrEqual(t, time.Since(began), 1500*time.Millisecond)
	require.NotEmpty(t, shown)
	require.NoError(t, r.Ledgers()[0].Err)

	r = open(t, parse(t, text), daemon.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.Run(ctx))
	require.NoError(t, r.Ledgers()[0].Err)
}

func TestSocketsAreRemovedAtTheEnd(t *testing.T) {
	dir := folder(t)
	share := filepath.Join(dir, "share")
	text := `
[defaults]
buffer = "8MiB"
[storage]
dirs = "null"
[port.a]
device = "sim:gen,rate=1kpps"
queues = 2
[port.b]
device = "sim:gen,rate=1kpps,seed=2"
[share]
dir = "` + share + `"
mode = "0660"
[metrics]
listen = "127.0.0.1:0"
`
	r := open(t, parse(t, text), daemon.Config{})
	end := r.start(t)
	for _, name := range []string{"a-queue0.sock", "a-queue1.sock", "b-queue0.sock"} {
		st, err := os.Stat(filepath.Join(share, name))
		require.NoError(t, err)
		require.EqualValues(t, 0o660, st.Mode().Perm())
	}
	c := control.NewClient(filepath.Join(share, "control.sock"))
	defer c.Close()
	p, err := c.Ports(t.Context())
	require.NoError(t, err)
	require.Len(t, p.Ports, 2)
	st, err := c.Port("a").Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "storer", st.Queues[0].Listeners[0].Name)
	_, err = c.Port("a").Detach(t.Context(), st.Queues[0].Listeners[0].Key())
	require.ErrorContains(t, err, "it stores the capture")
	_, err = c.Rotate(t.Context())
	require.ErrorContains(t, err, "nothing is stored")
	require.NotEmpty(t, r.MetricsAddress())
	_, err = net.Dial("tcp", r.MetricsAddress())
	require.NoError(t, err)

	require.NoError(t, end())
	require.NoError(t, r.Close())
	require.NoDirExists(t, share)
	_, err = net.Dial("tcp", r.MetricsAddress())
	require.Error(t, err)

	// A folder that was there, or has foreign files, stays.
	require.NoError(t, os.Mkdir(share, 0o755))
	r = open(t, parse(t, text), daemon.Config{})
	require.NoError(t, r.Close())
	require.DirExists(t, share)
	require.Empty(t, files(t, share, "*"))
	require.NoError(t, os.Remove(share))
	r = open(t, parse(t, text), daemon.Config{})
	require.NoError(t, os.WriteFile(filepath.Join(share, "foreign"), nil, 0o600))
	require.NoError(t, r.Close())
	require.Equal(t, []string{filepath.Join(share, "foreign")}, files(t, share, "*"))
}

func TestRotateBeginsNewFiles(t *testing.T) {
	dir := t.TempDir()
	r := open(t, parse(t, fmt.Sprintf(`
[defaults]
buffer = "8MiB"
[storage]
dirs = "%s"
flush = "10ms"
[port.a]
device = "sim:gen,rate=1kpps,size=60"
[port.b]
device = "sim:gen,rate=1kpps,size=60,seed=2"
storage.dirs = "null"
`, dir)), daemon.Config{})
	end := r.start(t)
	for n := range 2 {
		require.Eventually(t, func() bool { return len(files(t, dir, "*-a-q00-*.raw.part")) == 1 }, testtime.Deadline, time.Millisecond)
		r.Rotate()
		require.Eventually(t, func() bool { return len(files(t, dir, "*-a-q00-*.raw")) == n+1 }, testtime.Deadline, time.Millisecond)
	}
	require.NoError(t, end())
	for _, l := range r.Ledgers() {
		require.NoError(t, l.Err)
	}
	require.Empty(t, files(t, dir, "*-b-*"))
}

// What the port drops is in the ledger, and its rules stand before the others.
func TestPortFiltersDropBeforeMemory(t *testing.T) {
	s := parse(t, `
[port.a]
device = "sim:gen,size=100,flows=256,count=5000,backpressure"
buffer = "8MiB"
port_filters = "(ip src net 198.18.0.0/25) drop"
rules = "(ip src net 198.18.0.128/26) drop"
storage = { dirs = "`+t.TempDir()+`", segment = "1MiB" }
`)
	r := open(t, s, daemon.Config{})
	require.NoError(t, r.Run(t.Context()))
	l := r.Ledgers()[0].Ledger
	require.NoError(t, l.Balanced())
	require.EqualValues(t, 5000, l.Account.Wire)
	require.InDelta(t, 2500, l.Account.Filtered, 100)
	require.Equal(t, 5000-l.Account.Filtered, l.Account.Received)
	require.InDelta(t, 1250, l.Queues[0].Filtered, 100)
	require.Zero(t, l.Queues[0].Rules[0].Frames, "the port has dropped them all")
	require.Zero(t, l.Lost())
	require.Contains(t, r.log.Text(), "port filter (ip src net 198.18.0.0/25) drop: in the chip: 1 Flow Director filter")
}

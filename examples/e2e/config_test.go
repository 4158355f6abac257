package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/internal/testtime"
)

// writeSettings writes a settings file.
func writeSettings(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// ledgers decodes the output of hpcapdd --config --json. Each ledger must balance.
func ledgers(t *testing.T, r result) map[string]capture.Ledger {
	t.Helper()
	all := map[string]capture.Ledger{}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &all), "stdout: %s\nstderr: %s", r.stdout, r.stderr)
	for _, l := range all {
		require.NoError(t, l.Balanced())
	}
	return all
}

// storedFrames returns the number of frames in a port's RAW files, and of the files.
func storedFrames(t *testing.T, dir, port string) (frames uint64, files int) {
	t.Helper()
	for _, name := range rawFiles(t, dir) {
		if strings.Contains(filepath.Base(name), "-"+port+"-q") {
			files++
			r := succeed(t, "raw2tstamp", name)
			frames += uint64(strings.Count(r.stdout, "\n"))
		}
	}
	return frames, files
}

func TestOneFileCapturesSeveralPorts(t *testing.T) {
	dir, path := shortDir(t), filepath.Join(t.TempDir(), "ixcap.toml")
	hosts, err := filepath.Abs(captures(t)[0])
	require.NoError(t, err)
	writeSettings(t, path, fmt.Sprintf(`
[defaults]
buffer = "8MiB"
[storage]
dirs = ["%[1]s/a", "%[1]s/b"]
segment = "1MiB"
[port.left]
device = "sim:gen,count=4000,size=600-1500,flows=16,backpressure" # fewer than the descriptors of two rings
queues = 2
[port.right]
device = "sim:pcap=%[2]s,backpressure"
[port.right.storage]
dirs = "%[1]s/right"
[port.office]
device = "0000:00:00.0"
mode = "kernel"
[port.packets]
device = "sim:gen,count=5000,size=60,backpressure,seed=2"
[port.packets.storage]
dirs = "%[1]s/packets"
format = "pcapng"
zstd = 1
store_filter = "udp"
[retention]
size = "1GiB"
`, dir, hosts))
	r := succeed(t, "hpcapdd", "--config", path, "--json")
	all := ledgers(t, r)
	require.Len(t, all, 3)
	require.EqualValues(t, 4000, all["left"].Frames())
	require.Len(t, all["left"].Storers, 2)
	require.EqualValues(t, 5000, all["packets"].Frames())

	a, filesA := storedFrames(t, filepath.Join(dir, "a"), "left")
	b, filesB := storedFrames(t, filepath.Join(dir, "b"), "left")
	require.EqualValues(t, 4000, a+b)
	require.Positive(t, filesA)
	require.Positive(t, filesB, "files alternate between the directories")
	got, files := readRaw(t, filepath.Join(dir, "right"))
	require.Regexp(t, `Z-right-q00-\d{6}\.raw$`, files[0])
	requireSameFrames(t, readPcap(t, hosts), got)
	packed, err := filepath.Glob(filepath.Join(dir, "packets", "*-packets-q00-*.pcapng.zst"))
	require.NoError(t, err)
	require.NotEmpty(t, packed)

	text := succeed(t, "hpcapdd", "--config", path).stdout
	require.Contains(t, text, "left:\n")
	require.Contains(t, text, "right:\n")
	require.Equal(t, 3, strings.Count(text, "the ledger balances"))
}

func TestHangupReloadsSettingsAndBeginsNewFiles(t *testing.T) {
	dir, path := shortDir(t), filepath.Join(t.TempDir(), "ixcap.toml")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	require.NoError(t, err)
	defer manager.Close()
	notification := func() string { // the next one to the service manager
		require.NoError(t, manager.SetReadDeadline(time.Now().Add(testtime.Deadline)))
		b := make([]byte, 4096)
		n, err := manager.Read(b)
		require.NoError(t, err, "no notification to the service manager")
		return string(b[:n])
	}
	text := func(defaults, more string) string {
		return fmt.Sprintf(`
[defaults]
buffer = "16MiB"
%[2]s
[storage]
dirs = "%[1]s/files"
[port.one]
device = "sim:gen,size=60-300,flows=16,rate=2kpps,backpressure"
[port.two]
device = "sim:gen,size=60,rate=1kpps,backpressure"
[share]
dir = "%[1]s/share"
[metrics]
listen = "127.0.0.1:0"
[hpcapmon]
dir = "%[1]s/hpcapmon"
%[3]s
`, dir, defaults, more)
	}
	writeSettings(t, path, text("", ""))
	ctx, cancel := context.WithTimeout(context.Background(), 5*testtime.Deadline) // for all steps of the test
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, built(t, "hpcapdd"), "--config", path, "--json")
	c.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
	p := launch(t, c)
	require.Contains(t, notification(), "READY=1")
	ctl := func(words ...string) []string {
		return append([]string{"--socket", filepath.Join(dir, "share", "control.sock")}, words...)
	}

	// Both ports over one socket.
	fail(t, "2 ports are captured here: say which one is meant", "hpcapctl", ctl("rules", "drop")...)
	both := asJSON[map[string]control.Status](t, ctl("status")...)
	require.Len(t, both, 2)
	require.Equal(t, control.Running, both["two"].State)
	require.FileExists(t, filepath.Join(dir, "share", "two-queue0.sock"))
	require.Contains(t, succeed(t, "hpcapctl", ctl("ports")...).stdout, "one  sim:gen,")
	require.Contains(t, succeed(t, "hpcapctl", ctl("ledger", "--port", "one")...).stdout, "on the wire of sim:gen")

	// New files on request.
	closed := func(port string) int {
		all, err := filepath.Glob(filepath.Join(dir, "files", "*-"+port+"-q00-*.raw"))
		require.NoError(t, err)
		return len(all)
	}
	stores := func(port string) bool {
		s := asJSON[control.Status](t, ctl("status", "--port", port)...)
		return s.Queues[0].Stored > 10
	}
	eventually(t, "nothing is stored", func() bool { return stores("one") && stores("two") })
	require.Contains(t, succeed(t, "hpcapctl", ctl("rotate", "--port", "one")...).stdout, "one: new files begin")
	eventually(t, "no file is closed", func() bool { return closed("one") == 1 })
	require.Zero(t, closed("two"))

	// Settings that may change without a restart are applied, and new files begin.
	writeSettings(t, path, text(`rules = "(udp) 64; (tcp) drop"`+"\nfifo = 1", "[retention]\nage = \"7d\""))
	p.signal(unix.SIGHUP)
	require.Regexp(t, `^RELOADING=1\nMONOTONIC_USEC=\d+$`, notification())
	require.Contains(t, notification(), "READY=1")
	p.waitStderr("reload: port.one.rules: (udp) 64; (tcp) drop; all instead of none")
	p.waitStderr("reload: needs a restart: port.two.fifo: 1 instead of 0")
	p.waitStderr("reload: retention.age: 7d instead of 0s")
	require.Contains(t, succeed(t, "hpcapctl", ctl("rules", "--port", "two")...).stdout, "(udp) 64")
	eventually(t, "no file is closed", func() bool { return closed("one") == 2 && closed("two") == 1 })

	// An invalid file changes nothing.
	writeSettings(t, path, text(`rules = "(udp) 65; (tcp) drop"`+"\ncolour = 3", "[retention]\nage = \"soon\""))
	p.signal(unix.SIGHUP)
	notification()
	notification()
	p.waitStderr("ixcap.toml:5: defaults.colour: unknown key")
	p.waitStderr(`retention.age: duration "soon": must be seconds or a number with its unit`)
	p.waitStderr("reload: nothing has changed")
	require.Contains(t, succeed(t, "hpcapctl", ctl("rules", "--port", "one")...).stdout, "(udp) 64")
	writeSettings(t, path, text(`rules = "(udp) 64; (tcp) drop"`+"\nfifo = 1", "[retention]\nage = \"7d\""))
	p.signal(unix.SIGHUP)
	notification()
	notification()
	eventually(t, "the setting that needs a restart is not reported again", func() bool {
		return strings.Count(p.stderr.String(), "needs a restart: port.two.fifo") == 2
	})

	// Prometheus metrics, and the monitoring files of HPCAP.
	address := regexp.MustCompile(`http://\S+/metrics`).FindString(p.stderr.String())
	a, err := http.Get(address)
	require.NoError(t, err)
	body, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	require.NoError(t, a.Body.Close())
	for _, series := range []string{
		`ixcap_port_capturing{port="one"} 1`, `ixcap_queue_stored_frames_total{port="two",queue="0"}`, `ixcap_storer_dir_write_seconds_count{dir=`,
		`ixcap_listener_lag_bytes{id="1",listener="storer",port="one",queue="0"}`, `ixcap_retention_kept_files`,
	} {
		require.Contains(t, string(body), series)
	}
	for _, name := range []string{"one", "two", "cpus"} {
		eventually(t, "no line in "+name, func() bool {
			files, _ := filepath.Glob(filepath.Join(dir, "hpcapmon", "*-*", name))
			return len(files) > 0
		})
	}

	end := p.end(unix.SIGTERM)
	require.Zero(t, end.status, end.stderr)
	require.Contains(t, notification(), "STOPPING=1")
	for name, l := range ledgers(t, end) {
		frames, files := storedFrames(t, filepath.Join(dir, "files"), name)
		require.Equal(t, l.Frames(), frames, "every frame stored is in a file")
		require.Equal(t, l.Storers[0].Files, files)
		require.Equal(t, name == "one", l.Queues[0].Cut > 0, "frames of 60 bytes are not cut to 64")
	}
	require.NoDirExists(t, filepath.Join(dir, "share"))
}

func TestHangupWithoutSettingsFileBeginsNewFiles(t *testing.T) {
	dir := t.TempDir()
	p := launch(t, command(t, "hpcapdd", "-i", "sim:gen,size=60,rate=1kpps,backpressure", "-w", dir, "--flush", "10ms", "--buffer", "8MiB", "--json"))
	for n := range 2 {
		eventually(t, "nothing is written", func() bool {
			parts, _ := filepath.Glob(filepath.Join(dir, "*.raw.part"))
			return len(parts) == 1
		})
		p.signal(unix.SIGHUP)
		eventually(t, "no file is closed", func() bool {
			files, _ := filepath.Glob(filepath.Join(dir, "*.raw"))
			return len(files) == n+1
		})
	}
	end := p.end(unix.SIGINT)
	require.Zero(t, end.status, end.stderr)
	l := ledger(t, end)
	got, files := readRaw(t, dir)
	require.EqualValues(t, l.Frames(), len(got))
	require.GreaterOrEqual(t, len(files), 2)
}

func TestCheckReportsAllErrorsAndStartsNothing(t *testing.T) {
	dir, path := shortDir(t), filepath.Join(t.TempDir(), "ixcap.toml")
	writeSettings(t, path, fmt.Sprintf(`[port.one]
device = "sim:gen,count=10"
storage.dirs = "%s/files"
`, dir))
	r := succeed(t, "hpcapdd", "--check", "--config", path)
	require.Contains(t, r.stdout, path+": ok\none  sim:gen,count=10, 1 queue, buffer 256MiB, raw files of 2GiB to "+dir+"/files\nopened sim:gen,count=10: ")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Equal(t, "ok\n", succeed(t, "hpcapdd", "--check", "-i", "sim:gen", "-w", "null").stdout[:3])

	writeSettings(t, path, fmt.Sprintf(`[port.one]
device = "sim:pidgeon"
cores = [1000]
storage.dirs = "%s/no/such"
[port.two]
device = "vfio-user:%[1]s/none.sock"
storage.dirs = "null"
[port.three]
device = "smoke-signal:x"
storage.dirs = "null"
[port.four]
device = "0000:ff:1f.7"
mode = "kernel"
`, dir))
	r = run(t, "hpcapdd", "--check", "--config", path)
	require.Equal(t, 1, r.status)
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	require.Len(t, lines, 6)
	for i, want := range []string{":2: port.one.device: sim:pidgeon: ", ":3: port.one.cores: core 1000: this machine has ", ":4: port.one.storage.dirs: ", ":6: port.two.device: vfio-user:", ":9: port.three.device: smoke-signal:x: want a PCI address", ":12: port.four.device: 0000:ff:1f.7: "} {
		require.Contains(t, lines[i], "hpcapdd: "+path+want)
	}
	fail(t, "--interface: does not go with --config", "hpcapdd", "--config", path, "-i", "sim:gen")
	fail(t, "no such file", "hpcapdd", "--config", filepath.Join(dir, "none.toml"))
	fail(t, "zstd level 23", "hpcapdd", "--check", "-i", "sim:gen", "-w", dir, "--format", "pcap", "--zstd", "23")
	fail(t, "--store-filter: only for the formats pcap and pcapng", "hpcapdd", "-i", "sim:gen", "-w", dir, "--store-filter", "udp")
	require.Len(t, strings.Split(run(t, "hpcapdd", "-i", "sim:gen", "-w", dir, "--queues", "99", "--snaplen", "-1", "--block", "3kB").stderr, "\n"), 4, "all invalid flags are reported at once")
}

func TestRaw2tstampPrintsTheStoredTimestamps(t *testing.T) {
	dir := t.TempDir()
	hosts := captures(t)[0]
	raw := filepath.Join(dir, "hosts.raw")
	succeed(t, "pcap2raw", hosts, raw)
	all := readPcap(t, hosts)
	var want, since strings.Builder
	for _, p := range all {
		fmt.Fprintf(&want, "%d.%09d\t%d\t%d\n", p.at.Unix(), p.at.Nanosecond(), p.len, len(p.data))
		fmt.Fprintf(&since, "%d\t%d\t%d\n", p.at.Sub(all[0].at.Truncate(time.Second)).Nanoseconds(), p.len, len(p.data))
	}
	require.Equal(t, want.String(), succeed(t, "raw2tstamp", raw).stdout)
	require.Equal(t, want.String()+want.String(), succeed(t, "raw2tstamp", raw, raw).stdout)
	out := filepath.Join(dir, "stamps")
	succeed(t, "raw2tstamp", raw, out) // HPCAP's form
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, since.String(), string(text))
	fail(t, "no input", "raw2tstamp")
	fail(t, "also an input", "raw2tstamp", "-w", raw, raw)
	fail(t, "no space left", "raw2tstamp", "-w", "/dev/full", raw)
	require.NoError(t, os.WriteFile(out, []byte("not a RAW file at all, is it?"), 0o600))
	fail(t, "not a RAW record", "raw2tstamp", "-w", "-", out)
}

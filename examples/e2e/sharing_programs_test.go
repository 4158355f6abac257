package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/stream"
)

// startSharing starts hpcapdd --share on a slow endless wire. ctl returns a command line
// of hpcapctl for it.
func startSharing(t *testing.T, args ...string) (p *program, dir string, ctl func(args ...string) []string) {
	t.Helper()
	dir = filepath.Join(shortDir(t), "share")
	p = launch(t, command(t, "hpcapdd", append([]string{
		"-i", "sim:gen,size=60-1514,flows=16,rate=200pps,backpressure", "-w", "null", "--buffer", "32MiB", "--share", dir, "--json"}, args...)...))
	eventually(t, "hpcapdd does not serve its control socket", func() bool {
		r := run(t, "hpcapctl", "--socket", filepath.Join(dir, "control.sock"), "--json", "status")
		var s control.Status
		return r.status == 0 && json.Unmarshal([]byte(r.stdout), &s) == nil && s.State == control.Running
	})
	return p, dir, func(args ...string) []string {
		return append([]string{"--socket", filepath.Join(dir, "control.sock")}, args...)
	}
}

// shortDir returns a temporary directory with a short path: paths of sockets have at
// most 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ixcap-e2e-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// asJSON runs hpcapctl --json and decodes its output.
func asJSON[T any](t *testing.T, args ...string) (v T) {
	t.Helper()
	r := succeed(t, "hpcapctl", append(args, "--json")...)
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &v), r.stdout)
	return v
}

func TestHpcapctlShowsAndChangesARunningCapture(t *testing.T) {
	p, dir, ctl := startSharing(t)
	socket := filepath.Join(dir, "queue0.sock")
	alone := startClient(t, client{Socket: socket, Name: "alone"})
	twin := startClient(t, client{Socket: socket, Name: "twin"})
	startClient(t, client{Socket: socket, Name: "twin", Options: stream.Options{Policy: stream.Lossy}})
	p.waitStderr("hpcapdd: queue 0: listener alone (pid " + fmt.Sprint(alone.Process.Pid))

	s := asJSON[control.Status](t, ctl("status")...)
	require.Equal(t, p.Process.Pid, s.PID)
	require.Contains(t, s.Port, "sim:gen")
	require.Len(t, s.Queues[0].Listeners, 4)
	require.Equal(t, []control.Socket{{Path: socket, Mode: "0600"}}, s.Queues[0].Sockets)
	r := succeed(t, "hpcapctl", ctl("status")...)
	for _, word := range []string{"running for", "Mpps", "CLOCK_REALTIME", "BUFFER FULL", "32 MiB", "4, 0 detached", socket + " (mode 0600)", fmt.Sprint(alone.Process.Pid)} {
		require.Contains(t, r.stdout, word)
	}

	l := asJSON[control.Listeners](t, ctl("listeners")...)
	require.Len(t, l.Attached, 4)
	pids := map[int]bool{}
	for _, a := range l.Attached {
		pids[a.PID] = true
		require.Equal(t, os.Getuid(), a.UID)
	}
	require.True(t, pids[alone.Process.Pid] && pids[twin.Process.Pid] && pids[p.Process.Pid])
	r = succeed(t, "hpcapctl", ctl("listeners")...)
	require.Regexp(t, `(?m)^0:2 +alone +\d+ +\S+ +lossless +`, r.stdout)
	require.NotContains(t, r.stdout, "REASON", "no listener has detached")

	// Policies.
	fail(t, `2 listeners are named "twin": choose one of 0:3 (twin, pid`, "hpcapctl", ctl("policy", "twin", "lossy")...)
	r = succeed(t, "hpcapctl", ctl("policy", "0:3", "lossless,detach-after=1h")...)
	require.Contains(t, r.stdout, "0:3 (twin, pid ")
	require.Contains(t, r.stdout, "policy lossless,detach-after=1h")
	require.Equal(t, "lossy", asJSON[control.Listener](t, ctl("policy", "alone", "lossy")...).Policy)
	fail(t, "must stay as it is", "hpcapctl", ctl("policy", "storer", "lossy")...)
	fail(t, "must stay as it is", "hpcapctl", ctl("detach", "storer")...)
	fail(t, "choose lossless, lossy", "hpcapctl", ctl("policy", "alone", "sloppy")...)

	// Detaching: the client gets the reason.
	gone := asJSON[control.Listener](t, ctl("detach", "0:3")...)
	require.Contains(t, gone.DetachReason, "on request: by ")
	end := twin.wait()
	require.NotZero(t, end.status)
	require.Contains(t, end.stderr, "on request: by ")
	p.waitStderr("detached: on request")
	fail(t, "no listener 0:3 is attached", "hpcapctl", ctl("detach", "0:3")...)

	// A killed client is detached and counted.
	alone.signal(unix.SIGKILL)
	eventually(t, "the killed client is still attached", func() bool {
		l = asJSON[control.Listeners](t, ctl("listeners")...)
		return l.DetachedTotal == 2
	})
	require.Equal(t, "process exited", l.Detached[1].DetachReason)
	require.Contains(t, succeed(t, "hpcapctl", ctl("listeners")...).stdout, "process exited")

	// Filters.
	require.Contains(t, succeed(t, "hpcapctl", ctl("rules")...).stdout, "queue 0: no rules")
	before := asJSON[control.Status](t, ctl("status")...).Queues[0].Filtered
	require.Zero(t, before)
	succeed(t, "hpcapctl", ctl("rules", "drop")...)
	eventually(t, "nothing is filtered", func() bool { return asJSON[control.Status](t, ctl("status")...).Queues[0].Filtered > 0 })
	rules := filepath.Join(shortDir(t), "rules")
	require.NoError(t, os.WriteFile(rules, []byte("# headers only\n(udp) headers\n(tcp) 96\n"), 0o644))
	f := asJSON[control.Rules](t, ctl("rules", "--queue", "0", "@"+rules)...)
	require.Contains(t, f.Queues[0].Rules, "(tcp) 96")
	fail(t, "line 1, column 2", "hpcapctl", ctl("rules", "(colour green) drop")...)
	fail(t, `queue "1": the port has 1`, "hpcapctl", ctl("rules", "--queue", "1", "drop")...)
	require.Contains(t, succeed(t, "hpcapctl", ctl("rules")...).stdout, "(tcp) 96", "refused rules change nothing")
	succeed(t, "hpcapctl", ctl("rules", "none")...)

	// --watch prints until it is interrupted.
	w := launch(t, command(t, "hpcapctl", ctl("--watch", "10ms", "listeners", "--json")...))
	eventually(t, "--watch prints fewer than three lines", func() bool { return strings.Count(w.stdout.String(), "\n") > 2 })
	require.Zero(t, w.end(unix.SIGINT).status)
	for line := range strings.Lines(w.stdout.String()) {
		require.True(t, json.Valid([]byte(line)), "one object per line: %s", line)
	}
	require.Contains(t, succeed(t, "hpcapctl", ctl("ledger")...).stdout, "stored for listener alone (lossy, pid ")
	require.Contains(t, succeed(t, "hpcapctl", ctl("ledger")...).stdout, "the capture runs: ")
	running := succeed(t, "hpcapctl", ctl("ledger", "--json")...).stdout
	require.Contains(t, running, `"running": true`)
	require.NotContains(t, running, "balanced")

	end = p.end(unix.SIGINT)
	require.Zero(t, end.status, end.stderr)
	q := ledger(t, end).Queues[0]
	require.NotZero(t, q.Filtered)
	require.Len(t, q.Listeners, 4)
	require.NoDirExists(t, dir, "the directory of the sockets is removed at the end")
	fail(t, "no capture is served at "+dir, "hpcapctl", ctl("status")...)
}

func TestClientsReadAllRemainingFramesAtTheEnd(t *testing.T) {
	sent := 20_000
	sock := filepath.Join(shortDir(t), "nic.sock")
	model := launch(t, command(t, "nicsim", "--socket", sock, "--wire", fmt.Sprintf("gen,size=60-300,flows=16,count=%d,backpressure", sent)))
	model.waitStderr("serving on")
	dir, files := filepath.Join(shortDir(t), "share"), t.TempDir()
	p := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+sock, "-w", files, "--buffer", "16MiB",
		"--share", dir, "--share-mode", "0660", "--linger", "60s", "--json"))
	model.waitStderr("the wire has ended")
	st, err := os.Stat(filepath.Join(dir, "queue0.sock"))
	require.NoError(t, err)
	require.EqualValues(t, 0o660, st.Mode().Perm())
	st, err = os.Stat(filepath.Join(dir, "control.sock"))
	require.NoError(t, err)
	require.EqualValues(t, 0o600, st.Mode().Perm(), "--share-mode does not apply to the control socket")

	// When the capture ends nearly all frames are unread by both clients: one continues
	// at once, the other after the first has finished.
	oldest := stream.Options{Start: stream.FromOldest}
	reader := startClient(t, client{Socket: filepath.Join(dir, "queue0.sock"), Name: "reader", Options: oldest, PauseAt: 1})
	stopped := startClient(t, client{Socket: filepath.Join(dir, "queue0.sock"), Name: "stopped", Options: oldest, PauseAt: 1})
	reader.waitStderr("paused")
	stopped.waitStderr("paused")
	p.signal(unix.SIGINT)
	require.NoError(t, reader.stdin.Close())
	a := waitReport(t, reader)
	require.NoError(t, stopped.stdin.Close())
	b := waitReport(t, stopped)
	end := p.wait()
	require.Zero(t, end.status, end.stderr)
	l := ledger(t, end)
	truth := digestOf(t, files)
	require.EqualValues(t, sent, truth.Frames)
	requireAllFrames(t, truth, a)
	requireAllFrames(t, truth, b)
	for _, listener := range l.Queues[0].Listeners {
		require.EqualValues(t, sent, listener.Read, listener.Name)
	}
}

func TestListenerThatDoesNotReadDelaysTheEndByLinger(t *testing.T) {
	p, dir, ctl := startSharing(t, "--linger", "100ms")
	startClient(t, client{Socket: filepath.Join(dir, "queue0.sock"), Name: "lazy", PauseAt: 1}).waitStderr("paused")
	asleep := startClient(t, client{Socket: filepath.Join(dir, "queue0.sock"), Name: "asleep", Options: stream.Options{Policy: stream.Lossy}})
	asleep.signal(unix.SIGSTOP)
	eventually(t, "a client has no unread frames", func() bool {
		l := asJSON[control.Listeners](t, ctl("listeners")...)
		return len(l.Attached) == 3 && l.Attached[1].Unread > 0 && l.Attached[2].Unread > 0
	})
	end := p.end(unix.SIGTERM)
	require.Zero(t, end.status, end.stderr)
	ledger(t, end)
	require.Contains(t, end.stderr, "detached: server closed")
	require.NoDirExists(t, dir)
}

func TestFlagsBeforeHPCAPsCommandLine(t *testing.T) {
	dir := t.TempDir()
	r := succeed(t, "hpcapdd", "--sleep", "--json", "--dedup", "--stamps", "weighted", "--buffer", "4MiB", "sim:gen,size=60,count=500,backpressure", "0", dir)
	l := ledger(t, r)
	require.EqualValues(t, 500, l.Account.Wire)
	require.Equal(t, "weighted", l.Clock.Policy.String())
	require.Len(t, rawFiles(t, dir), 1)
}

func TestRulesOnTheCommandLineCutAndDrop(t *testing.T) {
	dir := t.TempDir()
	r := succeed(t, "hpcapdd", "--json", "--rules", "(tcp) drop; 80", "-i", "sim:gen,size=200,flows=16,count=5000,backpressure", "-w", dir)
	l := ledger(t, r)
	require.EqualValues(t, 5000, l.Account.Wire)
	got, _ := readRaw(t, dir)
	require.EqualValues(t, l.Frames(), len(got))
	require.Equal(t, l.Queues[0].Filtered+l.Frames(), uint64(5000))
	for _, p := range got {
		require.Len(t, p.data, 80)
		require.Equal(t, 200, p.len)
	}
}

func TestCommandsOfTheFiltersPageRun(t *testing.T) {
	text, err := os.ReadFile("../../docs/FILTERS.md")
	require.NoError(t, err)
	p, dir, _ := startSharing(t)
	data := t.TempDir()
	succeed(t, "hpcapdd", "-i", "sim:gen,count=10,backpressure", "--buffer", "4MiB", "-w", data)
	sh := newShell(t, t.TempDir())
	ran := 0
	for line := range strings.Lines(string(text)) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name {
		case "hpcapctl":
			args = "--socket " + filepath.Join(dir, "control.sock") + " " + args
		case "hpcapq":
			args = strings.Replace(args, " /data", " "+data, 1)
		default:
			continue
		}
		out, status := sh.run([]string{built(t, name) + " " + args})
		require.Equal(t, "0", status, "%s%s", line, strings.Join(out, "\n"))
		ran++
	}
	require.Equal(t, 3, ran)
	p.end(unix.SIGTERM)
}

func TestInvalidFlagsOfSharingAreRejected(t *testing.T) {
	scratch := shortDir(t)
	plain := filepath.Join(scratch, "plain")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))
	for name, c := range map[string]struct {
		want string
		args []string
	}{
		"share below a file":   {"not a directory", []string{"--share", filepath.Join(plain, "x")}},
		"share is a file":      {"not a directory", []string{"--share", plain}},
		"share far away":       {"no such file", []string{"--share", filepath.Join(scratch, "a", "b")}},
		"share with long path": {"at most 107", []string{"--share", filepath.Join(scratch, strings.Repeat("x", 100))}},
		"mode":                 {"such as 0660", []string{"--share", scratch, "--share-mode", "rw"}},
		"mode alone":           {"goes with --share", []string{"--share-mode", "0660"}},
		"linger":               {`duration "-1s"`, []string{"--linger", "-1s"}},
		"stamps":               {"choose packet, batch, uniform", []string{"--stamps", "lunar"}},
		"dedup setting":        {"must be window=DURATION", []string{"--dedup=windows=1s"}},
		"dedup value":          {"window", []string{"--dedup=window=fast"}},
		"dedup records":        {"records", []string{"--dedup=records=3,pools=1"}},
		"filter":               {"line 1, column", []string{"--rules", "(port x) drop"}},
		"filter file":          {"no such file", []string{"--rules", "@" + filepath.Join(scratch, "none")}},
		"fifo":                 {"99", []string{"--fifo", "100"}},
	} {
		t.Run(name, func(t *testing.T) {
			fail(t, c.want, "hpcapdd", append([]string{"-i", "sim:gen,count=10,backpressure", "-w", "null", "--buffer", "4MiB"}, c.args...)...)
		})
	}
	entries, err := os.ReadDir(scratch)
	require.NoError(t, err)
	require.Len(t, entries, 1, "a rejected command line leaves no file")
}

func TestSecondCaptureDoesNotReplaceTheSocketsOfTheFirst(t *testing.T) {
	p, dir, ctl := startSharing(t)
	fail(t, "another program serves this socket", "hpcapdd", "-i", "sim:gen,count=10,backpressure", "-w", "null", "--buffer", "4MiB", "--share", dir)
	require.Equal(t, p.Process.Pid, asJSON[control.Status](t, ctl("status")...).PID)
	p.end(unix.SIGKILL)
	require.FileExists(t, filepath.Join(dir, "control.sock"))
	fail(t, "no capture is served at", "hpcapctl", ctl("status")...)
	// The sockets of a killed capture are replaced.
	r := succeed(t, "hpcapdd", "-i", "sim:gen,count=10,backpressure", "-w", "null", "--buffer", "4MiB", "--share", dir, "--json")
	require.EqualValues(t, 10, ledger(t, r).Frames())
}

func TestHpcapctlRejectsInvalidCommandLines(t *testing.T) {
	for want, args := range map[string][]string{
		"no command: name one":           {},
		`unknown command "dance"`:        {"dance"},
		"detach: an operand is missing":  {"detach"},
		"policy: an operand is missing":  {"policy", "x"},
		`unexpected operand "more"`:      {"status", "more"},
		"unknown flag: --watch":          {"detach", "x", "--watch", "1s"},
		`duration "-1s"`:                 {"status", "--watch", "-1s"},
		"unknown flag: --queue":          {"status", "--queue", "1"},
		"no capture is served at /none/": {"--socket", "/none/control.sock", "status"},
		"unknown flag: --nonsense":       {"status", "--nonsense"},
		"no such file":                   {"rules", "@/none"},
	} {
		fail(t, want, "hpcapctl", args...)
	}
	c := command(t, "hpcapctl", "status")
	c.Env = append(os.Environ(), "IXCAP_CONTROL=/none/elsewhere.sock")
	p := launch(t, c)
	requireOneLine(t, p.wait(), "hpcapctl", "no capture is served at /none/elsewhere.sock: start one, such as hpcapdd --share DIR")
}

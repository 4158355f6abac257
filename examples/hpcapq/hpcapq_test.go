package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// asProgram makes the test binary run the program.
const asProgram = "IXCAP_HPCAPQ"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

func program(t testing.TB, args ...string) *exec.Cmd {
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self, args...)
	c.Env = append(os.Environ(), asProgram+"=1", "TZ=UTC")
	return c
}

// call runs the program and returns its output and status.
func call(t testing.TB, args ...string) (stdout, stderr string, status int) {
	c := program(t, args...)
	var out, err bytes.Buffer
	c.Stdout, c.Stderr = &out, &err
	if e := c.Run(); !errors.As(e, new(*exec.ExitError)) {
		require.NoError(t, e)
	}
	return out.String(), err.String(), c.ProcessState.ExitCode()
}

// day is the begin of the test's capture.
var day = time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)

// folder distributes a capture over the queues of two ports, in segments, and returns
// the directory.
func folder(t testing.TB) string { return spread(t, "../../testdata/hosts.pcap", 400) }

// spread is folder for any capture, with a number of frames per file.
func spread(t testing.TB, capture string, frames int) string {
	dir := t.TempDir()
	in, err := os.Open(capture)
	require.NoError(t, err)
	defer in.Close()
	r, err := convert.NewReader(in, capfile.Options{})
	require.NoError(t, err)
	type file struct {
		w   *rawfile.Writer
		out bytes.Buffer
		n   int
		at  time.Time
		seq int
	}
	files := make([]file, 3)
	end := func(q int) {
		f := &files[q]
		if f.w == nil {
			return
		}
		require.NoError(t, f.w.End())
		name := archive.FileName([]string{"eth2", "eth2", "eth3"}[q], []int{0, 1, 0}[q], f.at, f.seq)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".raw"), f.out.Bytes(), 0o644))
		*f = file{seq: f.seq + 1}
	}
	random := rand.New(rand.NewPCG(1, 1))
	for i := 0; ; i++ {
		rec, err := r.Next()
		if err != nil {
			break
		}
		at := day.Add(time.Duration(i) * time.Millisecond)
		rec.Sec, rec.Nsec = uint32(at.Unix()), uint32(at.Nanosecond())
		q := random.IntN(3)
		f := &files[q]
		if f.w == nil {
			f.at = at
			f.w, err = rawfile.NewWriter(&f.out, 0)
			require.NoError(t, err)
		}
		require.NoError(t, f.w.Write(rec))
		if f.n++; f.n%frames == 0 {
			end(q)
		}
	}
	for q := range files {
		end(q)
	}
	return dir
}

// tcpdump returns tcpdump's lines for the packets of a capture that match.
func tcpdump(t *testing.T, file, filter string) []string {
	t.Helper()
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("needs tcpdump: make tools")
	}
	c := exec.CommandContext(t.Context(), path, "--nano", "-n", "-S", "-XX", "-tt", "-r", file, filter)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	require.NoError(t, err, "%s: %s", filter, stderr.String())
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// The output equals that of tcpdump -r with the same filter and frames, byte for byte.
func TestOutputEqualsTcpdump(t *testing.T) {
	captures := []string{"../../testdata/hosts.pcap"}
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only testdata/hosts.pcap is used; put pcap files there for more")
	}
	for _, capture := range append(captures, more...) {
		t.Run(filepath.Base(capture), func(t *testing.T) {
			dir := spread(t, capture, 3000)
			all := filepath.Join(t.TempDir(), "all.pcap")
			require.NoError(t, cli.Execute(command(runQuery, maintain), "-r", dir, "-w", all))
			address := "10.0.0.1"
			if line := strings.Fields(tcpdump(t, all, "ip and (tcp or udp)")[0]); len(line) > 2 {
				address = line[2][:strings.LastIndexByte(line[2], '.')]
			}
			filters := []string{
				"", "host " + address, "src host " + address + " and tcp", "port 80 or port 443", "udp port 53", "icmp or icmp6 or arp", "ip6", "not ip",
				"net " + address[:strings.IndexByte(address, '.')] + " and greater 200", "tcp[tcpflags] & tcp-syn != 0", "portrange 1-1023 and not host " + address,
				"vlan", "vlan and host " + address, "ether[0] & 1 = 1", "host 203.0.113.200",
			}
			for _, indexed := range []bool{false, true} {
				if indexed {
					require.NoError(t, maintain(maintenance{what: "repair", paths: []string{dir}}, io.Discard))
				}
				for i, filter := range filters {
					if !indexed && i%4 != 0 {
						continue
					}
					got := filepath.Join(t.TempDir(), "got.pcap")
					require.NoError(t, cli.Execute(command(runQuery, maintain), append(filterFlag(filter), "-r", dir, "-w", got)...))
					answer, err := os.ReadFile(got)
					require.NoError(t, err)
					require.True(t, bytes.Equal(tcpdumpBytes(t, all, filter), answer), "index %v: %s", indexed, filter)
				}
			}
			ng := filepath.Join(t.TempDir(), "got.pcapng")
			require.NoError(t, cli.Execute(command(runQuery, maintain), "-r", dir, "-f", filters[1], "-w", ng))
			require.Equal(t, tcpdump(t, all, filters[1]), tcpdump(t, ng, ""))
		})
	}
}

// tcpdumpBytes returns the output of tcpdump -w for the packets that match.
func tcpdumpBytes(t *testing.T, file, filter string) []byte {
	out := filepath.Join(t.TempDir(), "out.pcap")
	text, err := exec.CommandContext(t.Context(), "tcpdump", "--nano", "-r", file, "-w", out, filter).CombinedOutput()
	require.NoError(t, err, "%s: %s", filter, text)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	return b
}

func TestQueryWithoutAMatch(t *testing.T) {
	dir := folder(t)
	for says, args := range map[string][]string{
		"no packet matches\n": {"-f", "host 203.0.113.200"},
		"no packet matches; the first file begins at 2026-11-21T14:00:00": {"--from", "2026-11-22"},
	} {
		out, stderr, status := call(t, append([]string{"-r", dir, "-w", "-"}, args...)...)
		require.Zero(t, status)
		require.Contains(t, stderr, says)
		require.Equal(t, 24, len(out), "a pcap file without packets")
	}
}

func TestTimeSpanPortAndQueueAreSelected(t *testing.T) {
	dir := folder(t)
	count := func(args ...string) (n int) {
		out, stderr, status := call(t, append([]string{"-r", dir, "-w", "-"}, args...)...)
		require.Zero(t, status, stderr)
		r, err := convert.NewReader(strings.NewReader(out), capfile.Options{})
		require.NoError(t, err)
		for last := int64(0); ; n++ {
			rec, err := r.Next()
			if err != nil {
				return n
			}
			require.GreaterOrEqual(t, rec.Time().UnixNano(), last)
			last = rec.Time().UnixNano()
		}
	}
	all := count()
	require.Equal(t, 1000, count("--from", "2026-11-21 14:00:01", "--to", "2026-11-21T14:00:02Z"))
	require.Equal(t, 1, count("--from", fmt.Sprint(day.Unix()), "--to", "+1ms"))
	require.Equal(t, all-1, count("--from", "2026-11-21T15:00:00.001+01:00"))
	require.Zero(t, count("--from", "2026-11-22"))
	require.Equal(t, all, count("--port", "eth2", "--queue", "0")+count("--port", "eth2", "--queue", "1")+count("--port", "eth3"))
	require.Equal(t, count("--port", "eth2", "--queue", "1"), count("--queue", "1"))
}

// As of any program that writes to a pipe: no message, and the status of SIGPIPE.
func TestClosedPipeEndsTheQueryQuietly(t *testing.T) {
	dir := folder(t)
	c := program(t, "-r", dir, "-w", "-", "--stats")
	r, w, err := os.Pipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	c.Stdout, c.Stderr = w, &stderr
	require.NoError(t, c.Start())
	require.NoError(t, w.Close())
	_, err = r.Read(make([]byte, 24))
	require.NoError(t, err)
	require.NoError(t, r.Close())
	var exit *exec.ExitError
	require.ErrorAs(t, c.Wait(), &exit, stderr.String())
	require.Equal(t, 128+int(unix.SIGPIPE), exit.ExitCode())
	require.Contains(t, stderr.String(), "packets:", "--stats is printed all the same")
	require.NotContains(t, stderr.String(), "broken pipe")
}

// filterFlag returns the flag for an expression, none for the empty one.
func filterFlag(expression string) []string {
	if expression == "" {
		return nil
	}
	return []string{"-f", expression}
}

func TestErrorsAreOneLine(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct {
		status int
		says   string
		args   []string
	}{
		{2, "no directory", []string{"-w", "-"}},
		{2, "no output", []string{"-r", dir}},
		{2, "must end in .pcap or .pcapng", []string{"-r", dir, "-w", "x.txt"}},
		{2, "--from: time \"lately\": no form", []string{"-r", dir, "-w", "-", "--from", "lately"}},
		{2, "--to: time \"+5m\": the start of the window", []string{"-r", dir, "-w", "-", "--to", "+5m"}},
		{2, "the window is empty", []string{"-r", dir, "-w", "-", "--from", "now", "--to", "-5m"}},
		{2, "--filter: ", []string{"-r", dir, "-w", "-", "-f", "hosts 10.0.0.1"}},
		{2, "unknown command \"port\"", []string{"-r", dir, "-w", "-", "port", "53"}},
		{2, "must be idle, low or normal", []string{"-r", dir, "-w", "-", "--io", "high"}},
		{2, "--queue -2", []string{"-r", dir, "-w", "-", "--queue", "-2"}},
		{1, "no stored files", []string{"-r", dir, "-w", "-", "--port", "eth7"}},
		{1, "no such file", []string{"-r", dir + "/nosuch", "-w", "-"}},
		{1, "no such file", []string{"-r", dir, "-w", dir + "/nosuch/x.pcap"}},
		{2, "no files", []string{"verify"}},
		{1, "no such file", []string{"info", dir + "/nosuch"}},
	} {
		_, stderr, status := call(t, c.args...)
		require.Equal(t, c.status, status, "%q: %s", c.args, stderr)
		require.Contains(t, stderr, c.says)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

func TestStatusOfVerifyRepairAndInfo(t *testing.T) {
	dir := folder(t)
	out, stderr, status := call(t, "verify", dir)
	require.Zero(t, status, out+stderr)
	names, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	require.NoError(t, err)
	require.Equal(t, len(names), strings.Count(out, "no index"))

	victim := names[len(names)-1]
	raw, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(victim+".part", raw[:len(raw)-20], 0o644))
	require.NoError(t, os.Remove(victim))
	out, stderr, status = call(t, "verify", dir)
	require.Equal(t, 1, status)
	require.Contains(t, out, "problem: file is cut")
	require.Contains(t, stderr, "problems found")
	out, _, status = call(t, "repair", "-n", dir)
	require.Equal(t, 1, status)
	require.Contains(t, out, "dry run: cut at byte")
	require.NoFileExists(t, victim)
	out, stderr, status = call(t, "repair", dir)
	require.Zero(t, status, out+stderr)
	require.FileExists(t, victim)

	out, stderr, status = call(t, "info", "--json", dir)
	require.Zero(t, status, out+stderr)
	lines := json.NewDecoder(strings.NewReader(out))
	frames := 0
	for range names {
		var r struct {
			File, Index string
			Frames      int
			Earliest    time.Time
		}
		require.NoError(t, lines.Decode(&r))
		require.Equal(t, "complete", r.Index)
		require.Contains(t, names, r.File)
		require.False(t, r.Earliest.Before(day))
		frames += r.Frames
	}
	require.NotZero(t, frames)

	middle, err := filepath.Glob(filepath.Join(dir, "*-eth2-q00-000001.raw"))
	require.NoError(t, err)
	require.Len(t, middle, 1)
	require.NoError(t, os.Remove(middle[0]))
	out, _, status = call(t, "info", dir)
	require.Equal(t, 1, status)
	require.Contains(t, out, "segment before this one is missing")
}

// A cut file does not hide other packets, and sets the exit status.
func TestUnreadableFilesSetTheStatus(t *testing.T) {
	dir := folder(t)
	names, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(names[0], 1000))
	out := filepath.Join(t.TempDir(), "x.pcap")
	_, stderr, status := call(t, "-r", dir, "-w", out)
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "file is cut")
	_, err = os.Stat(out)
	require.NoError(t, err)
}

func TestTheWindowIsPrintedInUTCAndLocalTime(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct{ tz, from, to, want string }{
		{"CET-1CEST,M3.5.0,M10.5.0/3", "2026-11-21 15:00:01", "+1s", "window 2026-11-21T14:00:01Z to 14:00:02Z (15:00:01 to 15:00:02 CET)"},
		{"<+0530>-5:30", "20261121T140001Z", "2026-11-21 19:30:02", "window 2026-11-21T14:00:01Z to 14:00:02Z (19:30:01 to 19:30:02 +0530)"},
		{"UTC", "1795269601", "1795269602000", "window 2026-11-21T14:00:01Z to 14:00:02Z\n"},
	} {
		cmd := program(t, "-r", dir, "-w", "-", "--from", c.from, "--to", c.to)
		cmd.Env = append(cmd.Env, "TZ="+c.tz)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, stderr.String())
		require.Contains(t, stderr.String(), c.want)
		r, err := convert.NewReader(bytes.NewReader(out), capfile.Options{})
		require.NoError(t, err)
		n := 0
		for ; err == nil; n++ {
			_, err = r.Next()
		}
		require.Equal(t, 1000, n-1, "%v", c)
	}
	cmd := program(t, "-r", dir, "-w", "-", "--from", "2026-11-21 15:00:01")
	cmd.Env = append(cmd.Env, "TZ=Europe/Berlim")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 2, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "time zone TZ=Europe/Berlim: is not on this machine")
	cmd = program(t, "-r", dir, "-w", "-", "-c", "1")
	cmd.Env = append(cmd.Env, "TZ=Europe/Berlim")
	require.NoError(t, cmd.Run(), "no time is given")
}

func TestIOPriorityIsSetForAllThreads(t *testing.T) {
	require.NoError(t, setIOPriority(normal))
	for priority, want := range map[ioPriority]uintptr{low: 2<<13 | 7, idle: 3 << 13} {
		require.NoError(t, setIOPriority(priority))
		tasks, err := os.ReadDir("/proc/self/task")
		require.NoError(t, err)
		for _, task := range tasks {
			var id uintptr
			_, err := fmt.Sscan(task.Name(), &id)
			require.NoError(t, err)
			prio, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, id, 0)
			if errno == unix.ESRCH {
				continue
			}
			require.Zero(t, errno)
			require.Equal(t, want, prio)
		}
	}
}

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/internal/testtime"
)

// bin is the directory of the built programs.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if raceEnabled {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "ixcap-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		bin = dir
		build := exec.Command("go", "build", "-o", dir, "../hpcapdd", "../hpcapctl", "../hpcapq", "../raw2pcap", "../raw2tstamp", "../pcap2raw", "../nicsim", "../pktgen", "../demo")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// skipWithRace skips a test of other programs, which are built without the race detector:
// it would watch nothing but the test.
func skipWithRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("tests programs that have no race detector: go test without -race runs it")
	}
}

// built is the path of a built program.
func built(t *testing.T, name string) string {
	t.Helper()
	skipWithRace(t)
	return filepath.Join(bin, name)
}

// result is the output and the exit status of a program.
type result struct {
	stdout, stderr string
	status         int
}

// command returns a program that is killed after testtime.Deadline and at the end of the test.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	return commandFor(t, testtime.Deadline, name, args...)
}

// commandFor returns a program that is killed after a time and at the end of the test.
func commandFor(t *testing.T, limit time.Duration, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, built(t, name), args...)
}

// finish waits until a started command exits.
func finish(t *testing.T, c *exec.Cmd, stdout, stderr *bytes.Buffer) result {
	t.Helper()
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{stdout.String(), stderr.String(), c.ProcessState.ExitCode()}
}

// run runs a program until it exits.
func run(t *testing.T, name string, args ...string) result {
	t.Helper()
	c := command(t, name, args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	require.NoError(t, c.Start())
	return finish(t, c, &stdout, &stderr)
}

// succeed runs a program that must exit with status 0.
func succeed(t *testing.T, name string, args ...string) result {
	t.Helper()
	r := run(t, name, args...)
	require.Zero(t, r.status, "%s %q: %s", name, args, r.stderr)
	return r
}

// fail runs a program that must exit with a non-zero status and one line of error.
func fail(t *testing.T, want, name string, args ...string) result {
	t.Helper()
	r := run(t, name, args...)
	requireOneLine(t, r, name, want)
	return r
}

// requireOneLine requires a non-zero status and one line of standard error that
// begins with the program's name and contains want.
func requireOneLine(t *testing.T, r result, name, want string) {
	t.Helper()
	require.NotZero(t, r.status, "stderr: %s", r.stderr)
	require.NotEqual(t, -1, r.status, "killed: %s", r.stderr)
	var lines string
	for line := range strings.Lines(r.stderr) {
		if !strings.Contains(line, "warning: ") { // a file system without O_DIRECT
			lines += line
		}
	}
	line, rest, found := strings.Cut(lines, "\n")
	require.True(t, found && rest == "", "want one line, got %q", r.stderr)
	require.True(t, strings.HasPrefix(line, name+": "), line)
	require.Contains(t, line, want)
}

// ledger decodes the output of hpcapdd --json. The ledger must balance.
func ledger(t *testing.T, r result) capture.Ledger {
	t.Helper()
	var l capture.Ledger
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &l), "stdout: %s\nstderr: %s", r.stdout, r.stderr)
	require.NoError(t, l.Balanced())
	return l
}

// packet is a frame with its timestamp.
type packet struct {
	at   time.Time
	len  int
	data []byte
}

// readPcap reads all packets of a pcap or pcapng file.
func readPcap(t *testing.T, path string) []packet {
	t.Helper()
	in, err := os.Open(path)
	require.NoError(t, err)
	defer in.Close()
	r, err := convert.NewReader(in, capfile.Options{})
	require.NoError(t, err)
	var all []packet
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return all
		}
		require.NoError(t, err, path)
		all = append(all, packet{rec.Time(), int(rec.Len), bytes.Clone(rec.Data)})
	}
}

// readRaw reads all records of RAW files in the order of their names.
func readRaw(t *testing.T, dir string) (all []packet, files []string) {
	t.Helper()
	files = rawFiles(t, dir)
	for _, name := range files {
		all = append(all, readRawFile(t, name)...)
	}
	return all, files
}

// readRawFile reads all records of a RAW file.
func readRawFile(t *testing.T, name string) (all []packet) {
	t.Helper()
	in, err := os.Open(name)
	require.NoError(t, err)
	defer in.Close()
	for rec, err := range rawfile.NewReader(in).Records() {
		require.NoError(t, err, name)
		all = append(all, packet{rec.Time(), int(rec.Len), bytes.Clone(rec.Data)})
	}
	return all
}

// rawFiles lists the RAW files of a directory, which must hold nothing but closed RAW
// files and their sidecars.
func rawFiles(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir) // sorted by name
	require.NoError(t, err)
	var files []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == archive.Index {
			require.FileExists(t, filepath.Join(dir, strings.TrimSuffix(e.Name(), archive.Index)+".raw"), "a sidecar without its file")
			continue
		}
		require.Equal(t, ".raw", filepath.Ext(e.Name()), "unexpected file: %s", e.Name())
		files = append(files, filepath.Join(dir, e.Name()))
	}
	return files
}

// requireSameFrames requires that got equals sent: each frame once, in order, byte for
// byte. Frames shorter than 60 bytes are padded with zeros.
func requireSameFrames(t *testing.T, sent, got []packet) {
	t.Helper()
	require.Len(t, got, len(sent))
	for i, s := range sent {
		want := padded(s.data)
		if got[i].len != len(want) || !bytes.Equal(want, got[i].data) {
			require.Failf(t, "frame differs", "frame %d: sent %d bytes, got %d of %d", i, len(want), len(got[i].data), got[i].len)
		}
		if i > 0 {
			require.False(t, got[i].at.Before(got[i-1].at), "the timestamp of frame %d is before that of its predecessor", i)
		}
	}
}

// padded returns a frame as a MAC sends it: with zeros up to 60 bytes.
func padded(frame []byte) []byte {
	if len(frame) >= 60 {
		return frame
	}
	return append(bytes.Clone(frame), make([]byte, 60-len(frame))...)
}

// captures returns the pcap files that the tests send: the one of the repository and
// those of ../shared/pcaps beside the checkout, if there are any.
func captures(t *testing.T) []string {
	t.Helper()
	files := []string{filepath.Join("..", "..", "testdata", "hosts.pcap")}
	more, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "pcaps", "*.pcap"))
	require.NoError(t, err)
	if len(more) == 0 {
		t.Log("no further captures beside the checkout (../shared/pcaps): only testdata is sent")
	}
	return append(files, more...)
}

// tool returns the path of an installed program. Without it the test is skipped.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is missing: apt install %s", name, name)
	}
	return path
}

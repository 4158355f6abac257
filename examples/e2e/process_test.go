package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/sim"
)

// output collects the output of a running program.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *output) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *output) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// program is a running program.
type program struct {
	*exec.Cmd
	t              *testing.T
	stdin          io.WriteCloser // nil: none
	stdout, stderr output
}

// launch starts a program and collects its output, as far as c has no place for it. It is
// killed at the end of the test.
func launch(t *testing.T, c *exec.Cmd) *program {
	t.Helper()
	p := &program{Cmd: c, t: t}
	if c.Stdout == nil {
		c.Stdout = &p.stdout
	}
	if c.Stderr == nil {
		c.Stderr = &p.stderr
	}
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return p
}

// waitStderr waits until standard error contains a text.
func (p *program) waitStderr(text string) {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return strings.Contains(p.stderr.String(), text) }, testtime.Deadline, 2*time.Millisecond,
		"%s did not print %q: %s", p.Path, text, &p.stderr)
}

// signal sends a signal.
func (p *program) signal(sig os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.Process.Signal(sig))
}

// end sends a signal and waits until the program exits.
func (p *program) end(sig os.Signal) result {
	p.t.Helper()
	require.NoError(p.t, p.Process.Signal(sig))
	return p.wait()
}

// wait waits until the program exits.
func (p *program) wait() result {
	_ = p.Wait()
	return result{p.stdout.String(), p.stderr.String(), p.ProcessState.ExitCode()}
}

// waitBytes waits until the files of a directory have this size together.
func waitBytes(t *testing.T, dir string, size int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		var sum int64
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if st, err := e.Info(); err == nil {
				sum += st.Size()
			}
		}
		return sum >= size
	}, testtime.Deadline, 2*time.Millisecond, "%s does not reach %d bytes", dir, size)
}

func TestModelAndCaptureInTwoProcesses(t *testing.T) {
	file := captures(t)[0]
	sent := readPcap(t, file)
	sock := filepath.Join(t.TempDir(), "nic.sock")
	model := launch(t, command(t, "nicsim", "--socket", sock, "--wire", "pcap="+file+",backpressure", "--json"))
	model.waitStderr("serving on")
	dir := t.TempDir()
	dd := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+sock, "-w", dir, "--buffer", "4MiB", "--json"))
	model.waitStderr("the wire has ended")
	r := dd.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	require.EqualValues(t, len(sent), l.Account.Wire)
	got, _ := readRaw(t, dir)
	requireSameFrames(t, sent, got)

	// The next client opens the same NIC. Its wire has ended.
	r = succeed(t, "hpcapdd", "-i", "vfio-user:"+sock, "-w", "null", "--duration", "100ms", "--json")
	require.Zero(t, ledger(t, r).Account.Wire)

	r = model.end(unix.SIGTERM)
	require.Zero(t, r.status, r.stderr)
	var truth sim.Stats
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &truth))
	require.EqualValues(t, len(sent), truth.Delivered)
	require.NoFileExists(t, sock)
}

func TestKilledModelEndsTheCaptureAndKeepsWhatWasReceived(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "nic.sock")
	model := launch(t, command(t, "nicsim", "--socket", sock, "--wire", "gen,size=1000,rate=1Gbps"))
	model.waitStderr("serving on")
	dir := t.TempDir()
	dd := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+sock, "-w", dir, "--buffer", "4MiB", "--json"))
	waitBytes(t, dir, 3<<20)
	model.end(unix.SIGKILL)
	r := dd.wait()
	requireOneLine(t, r, "hpcapdd", "")
	var l capture.Ledger
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &l))
	requireQueuesBalance(t, l)
	got, _ := readRaw(t, dir)
	require.Greater(t, len(got), 2000)

	// A killed server leaves its socket file. The next server replaces it.
	again := launch(t, command(t, "nicsim", "--socket", sock, "--wire", "gen,count=1"))
	again.waitStderr("serving on")
	fail(t, "another program serves it", "nicsim", "--socket", sock, "--wire", "gen,count=1")
	require.Zero(t, again.end(unix.SIGINT).status)
}

func TestSignalsEndACaptureInOrder(t *testing.T) {
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			dd := launch(t, command(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=1Gbps", "-w", dir,
				"--segment", "2MiB", "--buffer", "4MiB", "--json", "--progress"))
			waitBytes(t, dir, 5<<20)
			r := dd.end(sig)
			require.Zero(t, r.status, r.stderr)
			l := ledger(t, r)
			got, files := readRaw(t, dir)
			require.EqualValues(t, l.Frames(), len(got), "every stored frame is on disk")
			require.Len(t, l.Storers, 1)
			require.Equal(t, l.Storers[0].Files, len(files))
			requireSegments(t, files, 2<<20)
		})
	}
}

func TestDurationEndsACapture(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := succeed(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=500Mbps", "-w", dir, "--buffer", "4MiB", "--duration", "3200ms", "--progress", "--json")
	l := ledger(t, r)
	require.InDelta(t, 3.2, l.Duration.Seconds(), 5)
	got, _ := readRaw(t, dir)
	require.EqualValues(t, l.Frames(), len(got))
	require.Contains(t, r.stderr, "Gb/s", "one line per second")
	require.NotContains(t, r.stderr, "\r", "lines are overwritten on a terminal only")
}

func TestKilledCaptureLeavesReadableFiles(t *testing.T) {
	dir := t.TempDir()
	dd := launch(t, command(t, "hpcapdd", "-i", "sim:gen,size=1000,rate=1Gbps", "-w", dir, "--segment", "2MiB", "--buffer", "4MiB"))
	waitBytes(t, dir, 5<<20)
	eventually(t, "files are not closed", func() bool { // a slow disk may be behind
		open, err := filepath.Glob(filepath.Join(dir, "*.part"))
		return err == nil && len(open) <= 2
	})
	dd.end(unix.SIGKILL)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) == archive.Index })
	records := uint64(0)
	for i, e := range entries {
		in, err := os.Open(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		defer in.Close()
		r := rawfile.NewReader(in)
		for {
			rec, err := r.Next()
			if err != nil {
				if err != io.EOF {
					require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				}
				break
			}
			require.EqualValues(t, 1000, rec.Len)
			require.Len(t, rec.Data, 1000)
		}
		if i < len(entries)-2 || filepath.Ext(e.Name()) == ".raw" { // the kill may fall between two files, or into both
			require.Equal(t, ".raw", filepath.Ext(e.Name()))
			require.True(t, r.Padded())
		}
		records += r.Count()
	}
	require.Greater(t, records, uint64(4000))
	last := filepath.Join(dir, entries[len(entries)-1].Name())
	require.Regexp(t, `\.raw(\.part)?$`, last)
	run(t, "raw2pcap", "-w", filepath.Join(t.TempDir(), "x.pcap"), last)
}

func TestDemoVerifiesWhatItSent(t *testing.T) {
	file := captures(t)[0]
	dir := filepath.Join(t.TempDir(), "capture")
	for range 2 { // the second time beside the files of the first
		r := succeed(t, "demo", "-r", file, "-w", dir, "--loop", "3")
		require.Contains(t, r.stdout, "the ledger balances")
		require.Contains(t, r.stdout, "verified: ")
		require.Contains(t, r.stdout, "Gb/s")
		// A file that does not belong to this capture and sorts after its files.
		require.NoError(t, os.WriteFile(filepath.Join(dir, "zz.raw"), []byte("no record"), 0o644))
	}
	require.Len(t, rawFiles(t, dir), 3)
	fail(t, "no such file", "demo", "-r", filepath.Join(dir, "none"), "-w", dir)
}

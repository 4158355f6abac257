package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
)

// packetStorer is a pcapstore.Storer as a recorder.Storer.
type packetStorer struct{ *pcapstore.Storer }

func (p packetStorer) Stats() store.Stats { return store.Stats{} }

// record captures the model's traffic to files of a format until ctx is done.
func record(ctx context.Context, t *testing.T, dir, shared, format string) error {
	port, err := nic.Open("sim:gen,size=300,rate=5kpps,flows=64", nic.Config{Queues: 2})
	if err != nil {
		return err
	}
	engine, err := capture.New(port, capture.Config{Buffer: 4 << 20, Segment: 2 << 20})
	if err != nil {
		return err
	}
	defer engine.Close()
	for q := range 2 {
		if _, err := engine.Stream(q).Serve(stream.ServerConfig{Path: filepath.Join(shared, fmt.Sprintf("queue%d.sock", q)), Mode: 0o600}); err != nil {
			return err
		}
	}
	cfg := recorder.Config{Dirs: []string{dir}, Queue: capture.AllQueues, Segment: 2 << 20, Every: 2 * time.Second, Store: rawstore.Config{Port: "sim:gen"}}
	if format != "raw" {
		name, compressed := strings.CutSuffix(format, ".zst")
		level := 0
		if compressed {
			level = 1
		}
		cfg.NewStorer = func(queue int, _ *stream.Stream) (recorder.Storer, error) {
			d, err := store.OpenDir(dir)
			if err != nil {
				return nil, err
			}
			s, err := pcapstore.New(pcapstore.Config{Port: "sim:gen", Queue: queue, Format: pcapfile.Format(name), Level: level}, d)
			return packetStorer{s}, err
		}
	}
	l, err := recorder.Run(ctx, engine, cfg)
	if err != nil || format != "raw" { // the adapter has no account of the storer
		return err
	}
	return l.Balanced()
}

// stalls returns a function that returns the longest time since then for which this
// process did not run.
func stalls() func() time.Duration {
	longest, done := make(chan time.Duration, 1), make(chan struct{})
	go func() {
		const step = 20 * time.Millisecond
		most, last := time.Duration(0), time.Now()
		for {
			select {
			case <-done:
				longest <- most
				return
			case <-time.After(step):
			}
			now := time.Now()
			most, last = max(most, now.Sub(last)-step), now
		}
	}()
	return func() time.Duration {
		close(done)
		return <-longest
	}
}

// What a query has followed is what the final files have, in order, each packet once.
func TestFollowedWindowIsThatOfTheFinalFiles(t *testing.T) {
	for _, format := range []string{"raw", "pcapng", "pcap.zst"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir, shared := t.TempDir(), t.TempDir()
			ctx, end := context.WithCancel(t.Context())
			defer end()
			done := make(chan error, 1)
			go func() { done <- record(ctx, t, dir, shared, format) }()
			require.Eventually(t, func() bool {
				files, err := filepath.Glob(filepath.Join(dir, "*"))
				return err == nil && len(files) > 2
			}, time.Minute, 10*time.Millisecond)
			from := time.Now().Add(time.Second)
			window := []string{"-r", dir, "--from", from.Format(time.RFC3339Nano), "--to", "+4s"}
			followed := filepath.Join(t.TempDir(), "followed.pcapng")
			args := append(window, "--follow", "-w", followed)
			if format == "raw" {
				args = append(args, "--share", shared)
			}
			stalled := stalls()
			_, stderr, status := call(t, args...)
			require.Zero(t, status, stderr)
			require.Regexp(t, `the window begins in \d+s and ends in \d+s: waiting for it`, stderr)
			require.WithinRange(t, time.Now(), from.Add(4*time.Second), from.Add(time.Minute))
			end()
			require.NoError(t, <-done)
			final := filepath.Join(t.TempDir(), "final.pcapng")
			_, stderr, status = call(t, append(window, "-w", final)...)
			require.Zero(t, status, stderr)
			if stalled() > time.Second {
				t.Skip("the machine stalled for more than a second: the storer may have written late")
			}
			require.NotContains(t, stderr, "out of order")
			want, got := tcpdump(t, final, ""), tcpdump(t, followed, "")
			require.Greater(t, frames(want), 1000)
			require.Equal(t, want, got)
		})
	}
}

// Without an end, the answer ends with the capture.
func TestFollowingEndsWithTheCapture(t *testing.T) {
	dir, shared := t.TempDir(), t.TempDir()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	done := make(chan error, 1)
	go func() { done <- record(ctx, t, dir, shared, "raw") }()
	require.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
		return err == nil && len(files) > 0
	}, time.Minute, 10*time.Millisecond)
	time.AfterFunc(time.Second, end)
	followed, final := filepath.Join(t.TempDir(), "followed.pcap"), filepath.Join(t.TempDir(), "final.pcap")
	_, stderr, status := call(t, "-r", dir, "--share", shared, "--follow", "-w", followed)
	require.Zero(t, status, stderr)
	require.NoError(t, <-done)
	_, stderr, status = call(t, "-r", dir, "-w", final)
	require.Zero(t, status, stderr)
	require.Equal(t, tcpdump(t, final, ""), tcpdump(t, followed, ""))
}

// An interrupt ends the answer with what was delivered. The packets so far are shown at
// once.
func TestFollowingEndsWithAnInterrupt(t *testing.T) {
	dir := folder(t)
	for _, c := range []struct {
		to     []string
		status int
	}{{nil, 0}, {[]string{"--to", "2099-01-01"}, 1}} {
		cmd := program(t, append(c.to, "-r", dir, "--follow", "-w", "-")...)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		whole := filepath.Join(t.TempDir(), "whole.pcap")
		_, text, status := call(t, "-r", dir, "-w", whole)
		require.Zero(t, status, text)
		want, err := os.ReadFile(whole)
		require.NoError(t, err)
		got := make([]byte, len(want))
		for n := 0; n < len(got); {
			m, err := out.Read(got[n:])
			require.NoError(t, err)
			n += m
		}
		require.Equal(t, want, got)
		require.NoError(t, cmd.Process.Signal(unix.SIGINT))
		_ = cmd.Wait()
		require.Equal(t, c.status, cmd.ProcessState.ExitCode(), stderr.String())
		require.Regexp(t, `interrupted at .*: packets that are not on disk yet|interrupted: more packets may match`, stderr.String())
	}
}

// An interrupt of a query that follows a capture ends it with what was captured by then:
// also with what is not on disk, and what is held back to be ordered.
func TestInterruptedFollowingHasWhatWasCapturedByThen(t *testing.T) {
	dir, shared := t.TempDir(), t.TempDir()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	done := make(chan error, 1)
	go func() { done <- record(ctx, t, dir, shared, "raw") }()
	require.Eventually(t, func() bool {
		files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
		return err == nil && len(files) > 0
	}, time.Minute, 10*time.Millisecond)
	followed, final := filepath.Join(t.TempDir(), "followed.pcapng"), filepath.Join(t.TempDir(), "final.pcapng")
	from := time.Now()
	window := []string{"-r", dir, "--from", from.Format(time.RFC3339Nano)}
	cmd := program(t, append(window, "--share", shared, "--follow", "-w", followed)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	time.Sleep(time.Until(from.Add(2500 * time.Millisecond))) // less than packets are held back
	signalled := time.Now()
	require.NoError(t, cmd.Process.Signal(unix.SIGINT))
	require.NoError(t, cmd.Wait(), stderr.String())
	require.Regexp(t, `order of packets: exact within each of 2 queues, within [1-9]\S+ between them\n`, stderr.String())
	end()
	require.NoError(t, <-done)
	before := append(window, "--to", signalled.Format(time.RFC3339Nano))
	_, text, status := call(t, append(before, "-w", final)...)
	require.Zero(t, status, text)
	answer := filepath.Join(t.TempDir(), "answer.pcapng")
	_, text, status = call(t, append([]string{"-r", followed, "-w", answer}, before[2:]...)...)
	require.Zero(t, status, text)
	want := tcpdump(t, final, "")
	require.Greater(t, frames(want), 1000)
	require.Equal(t, want, tcpdump(t, answer, ""))
}

func TestWindowThatIsNotOverIsTold(t *testing.T) {
	dir := folder(t)
	_, stderr, status := call(t, "-r", dir, "-w", "-", "--from", "now", "--to", "+5m")
	require.Zero(t, status)
	require.Regexp(t, `the window ends in 5m0s|4m59s: the answer has what is there now. --follow waits for the rest`, stderr)
	_, stderr, _ = call(t, "-r", dir, "-w", "-", "--to", "-5m")
	require.NotContains(t, stderr, "window ends")
	for _, to := range [][]string{nil, {"--to", "+5m"}} {
		from := time.Now().Add(14 * time.Hour).UTC().Format(time.RFC3339)
		_, stderr, status = call(t, append(to, "-r", dir, "-w", "-", "--from", from)...)
		require.Zero(t, status)
		require.Regexp(t, `the window begins in (14h0m0s|13h59m\d+s): nothing is captured yet. --follow waits for it`, stderr)
	}
}

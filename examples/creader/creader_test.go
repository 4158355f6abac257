// Package creader has a listener in C, written from docs/STREAM.md; a build
// constraint excludes it from Go builds. The tests compile it, and it reads a stream
// of the test's process:
//
//	generated frames ─► stream ─► socket, shared memory ─► creader ─► JSON ─► test
package creader

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim/wire"
)

const timeout = 60 * time.Second

// build compiles the reader with the command in its header.
func build(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is missing; `make tools` installs it")
	}
	exe := filepath.Join(t.TempDir(), "creader")
	out, err := exec.Command("gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", exe, "creader.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// result is what the reader prints at its end.
type result struct {
	Frames, Bytes, Overrun, Errors uint64
	End                            string
	Sum                            uint64
}

// reader is a running creader.
type reader struct {
	t   *testing.T
	cmd *exec.Cmd
	out strings.Builder
	err strings.Builder
}

func start(t *testing.T, exe string, args ...string) *reader {
	t.Helper()
	r := &reader{t: t, cmd: exec.Command(exe, args...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// end waits for the reader to exit.
func (r *reader) end() (got result, code int) {
	r.t.Helper()
	timer := time.AfterFunc(timeout, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	err := r.cmd.Wait()
	if err != nil {
		require.IsType(r.t, &exec.ExitError{}, err)
	}
	code = r.cmd.ProcessState.ExitCode()
	if r.out.Len() > 0 {
		require.NoError(r.t, json.Unmarshal([]byte(r.out.String()), &got), "%s%s", r.out.String(), r.err.String())
	}
	return got, code
}

type served struct {
	*stream.Stream
	path string
	next uint32
	gen  *wire.Generator
	pool *capturetest.Pool // nil: the stream copies
	sum  uint64            // FNV-1a of all bytes, from 0
}

// serve makes a stream for the model's generated frames, and serves it. They lie in a pool
// of so many chunks, if not 0.
func serve(t *testing.T, c stream.Config, chunks int, options ...wire.Option) *served {
	t.Helper()
	gen, err := wire.NewGenerator(append([]wire.Option{{Key: "size", Value: "imix"}, {Key: "flows", Value: "100"}}, options...))
	require.NoError(t, err)
	c.Interface, c.Node = "test", hugepage.AnyNode
	var pool *capturetest.Pool
	if chunks > 0 {
		pool = capturetest.NewPool(t, chunks)
		c.Pool = &pool.Pool
	}
	s, err := stream.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	path := filepath.Join(t.TempDir(), "q.sock")
	_, err = s.Serve(stream.ServerConfig{Path: path})
	require.NoError(t, err)
	return &served{Stream: s, path: path, gen: gen, pool: pool}
}

func (s *served) attached(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.Stats().Listeners) == n }, timeout, time.Millisecond)
}

// store stores generated frames; it waits for lossless listeners.
func (s *served) store(t *testing.T, frames int) {
	t.Helper()
	p, b := s.Producer(), []byte(nil)
	for i := range frames {
		b = s.gen.Append(b[:0], uint64(s.next))
		f := ring.Frame{Data: b, Len: uint32(len(b))}
		for since := time.Now(); !s.append(1+s.next/1e6, s.next%1e6, &f); time.Sleep(10 * time.Microsecond) {
			require.Less(t, time.Since(since), timeout, "held")
		}
		for _, c := range b {
			s.sum = (s.sum ^ uint64(c)) * 0x100000001b3
		}
		s.next++
		if i%50 == 49 {
			p.Publish()
		}
	}
	p.Publish()
}

func (s *served) append(sec, nsec uint32, f *ring.Frame) bool {
	if s.pool != nil {
		return s.pool.Append(s.Producer(), sec, nsec, f, 0)
	}
	return s.Producer().Append(sec, nsec, f, 0)
}

func TestReaderInCReadsEveryFrameInSequence(t *testing.T) {
	exe := build(t)
	for name, c := range map[string]struct {
		config  stream.Config
		chunks  int
		options []wire.Option
		policy  []string
	}{
		"in a pool":                 {config: stream.Config{Segment: stream.Block}, chunks: 20},
		"jumbo in a pool":           {config: stream.Config{Segment: stream.Block}, chunks: 20, options: []wire.Option{{Key: "size", Value: "60-9014"}}},
		"in a large pool, lossy":    {chunks: 2500, options: []wire.Option{{Key: "size", Value: "60-2500"}}, policy: []string{"-lossy"}},
		"udp, data is full first":   {config: stream.Config{Size: stream.Block, Segment: stream.Block}},
		"tcp, index is full first":  {config: stream.Config{Size: stream.Block, Entries: 256}, options: []wire.Option{{Key: "proto", Value: "tcp"}}},
		"tagged, never full, lossy": {config: stream.Config{Size: 32 * stream.Block}, options: []wire.Option{{Key: "vlan", Value: "7"}}, policy: []string{"-lossy"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.config, c.chunks, c.options...)
			r := start(t, exe, append(c.policy, "-json", "-pattern", "-name", "the C reader", s.path)...)
			s.attached(t, 1)
			require.Equal(t, "the C reader", s.Stats().Listeners[0].Name)
			require.Equal(t, r.cmd.Process.Pid, s.Stats().Listeners[0].PID)
			s.store(t, 30000)
			s.Producer().Finish()
			got, code := r.end()
			require.Zero(t, code, r.err.String())
			st := s.Stats()
			require.Equal(t, result{Frames: 30000, Bytes: st.FrameBytes, End: "finished", Sum: s.sum}, got)
			require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 1 }, timeout, time.Millisecond)
			report := s.Stats().RecentDetached[0]
			require.Equal(t, "closed", report.DetachReason)
			require.NoError(t, report.Balanced())
			require.EqualValues(t, 30000, report.Read)
			require.Equal(t, st.Bytes, report.ReadBytes)
			require.Zero(t, s.Stats().CorruptCursors)
		})
	}
}

func TestReaderInCCountsOverrunsExactly(t *testing.T) {
	exe := build(t)
	for name, c := range map[string]struct {
		lossless bool
		chunks   int
		size     string
	}{
		"lossy from the start":                                           {false, 0, "imix"},
		"made lossy while it is stopped, then lossless again":            {true, 0, "imix"},
		"lossy from the start, in a pool":                                {false, 30, "imix"},
		"lossy from the start, jumbo in a pool":                          {false, 30, "60-9014"},
		"made lossy while it is stopped, then lossless again, in a pool": {true, 30, "60-9014"},
	} {
		lossless := c.lossless
		t.Run(name, func(t *testing.T) {
			s := serve(t, stream.Config{Size: stream.Block, Segment: 2 * stream.Block}, c.chunks, wire.Option{Key: "size", Value: c.size})
			args := []string{"-json", "-pattern", s.path}
			if !lossless {
				args = append([]string{"-lossy"}, args...)
			}
			r := start(t, exe, args...)
			s.attached(t, 1)
			s.store(t, 1000)
			require.NoError(t, r.cmd.Process.Signal(syscall.SIGSTOP))
			id := s.Stats().Listeners[0].ID
			if lossless {
				require.NoError(t, s.SetPolicy(id, stream.Lossy, 0))
			}
			s.store(t, 20000)
			require.NoError(t, r.cmd.Process.Signal(syscall.SIGCONT))
			if lossless {
				require.NoError(t, s.SetPolicy(id, stream.Lossless, 0))
			}
			s.store(t, 20000)
			s.Producer().Finish()
			got, code := r.end()
			require.Zero(t, code, r.err.String())
			require.Equal(t, "finished", got.End)
			require.NotZero(t, got.Overrun)
			require.EqualValues(t, 41000, got.Frames+got.Overrun)
			require.Zero(t, got.Errors)
			require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 1 }, timeout, time.Millisecond)
			report := s.Stats().RecentDetached[0]
			require.NoError(t, report.Balanced())
			require.Equal(t, got.Overrun, report.Overrun)
			require.Zero(t, s.Stats().CorruptCursors)
		})
	}
}

func TestReaderInCCountsFramesOutOfSequence(t *testing.T) {
	s := serve(t, stream.Config{Size: stream.Block}, 0)
	r := start(t, build(t), "-json", "-pattern", s.path)
	s.attached(t, 1)
	s.store(t, 500)
	s.next++ // a frame is missing
	s.store(t, 500)
	s.next -= 700 // stamps and numbers go back
	s.store(t, 10)
	s.Producer().Finish()
	got, code := r.end()
	require.Equal(t, 1, code)
	require.EqualValues(t, 1010, got.Frames)
	require.EqualValues(t, 1+2, got.Errors, "a number, then a number and a stamp")
}

func TestReaderInCReportsHowItEnded(t *testing.T) {
	exe := build(t)
	s := serve(t, stream.Config{Size: stream.Block}, 0)
	stopped := start(t, exe, "-json", s.path)
	s.attached(t, 1)
	s.store(t, 100)
	require.Eventually(t, func() bool { return s.Stats().Listeners[0].Read == 100 }, timeout, time.Millisecond)
	require.NoError(t, stopped.cmd.Process.Signal(syscall.SIGTERM))
	got, code := stopped.end()
	require.Zero(t, code)
	require.Equal(t, "stopped", got.End)
	require.EqualValues(t, 100, got.Frames)
	s.attached(t, 0)
	require.Equal(t, "closed", s.Stats().RecentDetached[0].DetachReason)

	detached := start(t, exe, "-json", "-oldest", s.path)
	s.attached(t, 1)
	require.NoError(t, s.Detach(s.Stats().Listeners[0].ID, "test"))
	got, code = detached.end()
	require.Equal(t, 1, code)
	require.Equal(t, "detached", got.End)

	for want, args := range map[string][]string{
		"usage:":             {"-loss"},
		"No such file":       {filepath.Join(t.TempDir(), "none")},
		"File name too long": {"/" + strings.Repeat("x", 200)},
		"printable":          {"-name", "bell\a", s.path},
	} {
		r := start(t, exe, args...)
		_, code := r.end()
		require.Equal(t, 2, code)
		require.Contains(t, r.err.String(), want)
	}
}

// A lossless reader that was detached finds frames overwritten that it has not read. It does
// not read these, also once the stream has ended.
func TestDetachedReaderInCReadsNothingOverwritten(t *testing.T) {
	exe := build(t)
	for name, chunks := range map[string]int{"copied": 0, "placed": 4} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, stream.Config{Size: stream.Block}, chunks)
			r := start(t, exe, "-json", s.path)
			s.attached(t, 1)
			s.store(t, 50)
			require.Eventually(t, func() bool { return s.Stats().Listeners[0].Read == 50 }, timeout, time.Millisecond)
			require.NoError(t, r.cmd.Process.Signal(syscall.SIGSTOP))
			var status unix.WaitStatus
			_, err := unix.Wait4(r.cmd.Process.Pid, &status, unix.WUNTRACED, nil)
			require.NoError(t, err)
			require.True(t, status.Stopped())
			require.NoError(t, s.Detach(s.Stats().Listeners[0].ID, "test"))
			s.store(t, 10_000)
			s.Producer().Finish()
			require.NoError(t, r.cmd.Process.Signal(syscall.SIGCONT))
			got, code := r.end()
			require.Equal(t, 1, code)
			require.Equal(t, "detached", got.End)
			require.EqualValues(t, 50, got.Frames)
		})
	}
}

func TestReaderInCIsShort(t *testing.T) {
	text, err := os.ReadFile("creader.c")
	require.NoError(t, err)
	require.Less(t, strings.Count(string(text), "\n"), 170)
}

package cli_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

// waitForSignals makes this test's binary a program that is slow to end.
const waitForSignals = "IXCAP_CLI_WAIT"

// writeForEver makes it a program that writes to standard output.
const writeForEver = "IXCAP_CLI_WRITE"

func TestMain(m *testing.M) {
	if os.Getenv(writeForEver) != "" {
		ctx := cli.Interrupted("writer")
		for ctx.Err() == nil {
			_, _ = cli.Stdout.Write(make([]byte, 4096))
		}
		os.Exit(0)
	}
	if os.Getenv(waitForSignals) != "" {
		ctx := cli.Interrupted("slow")
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("ending in order")
		time.Sleep(time.Minute)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// slow is a program that is slow to end.
type slow struct {
	*exec.Cmd
	t     *testing.T
	lines *bufio.Scanner
	ended chan struct{}
}

func startSlow(t *testing.T, program string, args ...string) *slow {
	t.Helper()
	s := &slow{Cmd: exec.CommandContext(t.Context(), program, args...), t: t, ended: make(chan struct{})}
	s.Env = append(os.Environ(), waitForSignals+"=1")
	out, err := s.StdoutPipe()
	require.NoError(t, err)
	s.lines = bufio.NewScanner(out)
	require.NoError(t, s.Start())
	s.prints("ready")
	return s
}

func (s *slow) prints(line string) {
	s.t.Helper()
	require.True(s.t, s.lines.Scan())
	require.Equal(s.t, line, s.lines.Text())
}

// signal sends a signal and waits until it is delivered.
func (s *slow) signal(sig unix.Signal) {
	s.t.Helper()
	require.NoError(s.t, s.Process.Signal(sig))
	time.Sleep(20 * time.Millisecond)
}

func (s *slow) exits(status int) {
	s.t.Helper()
	var exit *exec.ExitError
	require.ErrorAs(s.t, s.Wait(), &exit)
	require.Equal(s.t, status, exit.ExitCode())
}

func TestFirstSignalEndsInOrderAndALaterOneAtOnce(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for _, first := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		t.Run(first.String(), func(t *testing.T) {
			t.Parallel()
			c := startSlow(t, self)
			c.signal(first)
			c.prints("ending in order")
			c.signal(first)
			c.signal(unix.SIGTERM)
			time.Sleep(1100 * time.Millisecond)
			require.NoError(t, c.Process.Signal(unix.Signal(0)), "a repetition within a second is the same signal")
			began := time.Now()
			c.signal(unix.SIGINT)
			c.exits(128 + int(unix.SIGINT))
			require.Less(t, time.Since(began), 30*time.Second)
		})
	}
}

// A program that writes to a pager that is stopped ends all the same.
func TestProgramWhoseOutputIsNotReadEnds(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	var stderr strings.Builder
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), writeForEver+"=1")
	c.Stdout, c.Stderr = w, &stderr
	require.NoError(t, c.Start())
	_, err = r.Read(make([]byte, 1))
	require.NoError(t, err)
	time.Sleep(100 * time.Millisecond) // the pipe is full
	require.NoError(t, c.Process.Signal(unix.SIGTERM))
	var exit *exec.ExitError
	require.ErrorAs(t, c.Wait(), &exit)
	require.Equal(t, 128+int(unix.SIGTERM), exit.ExitCode())
	require.Equal(t, "writer: standard output was not read for 2s: exiting\n", stderr.String())
}

func TestHangupThatNohupIgnoresStaysIgnored(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	c := startSlow(t, "/bin/sh", "-c", `trap "" HUP; exec "$0"`, self)
	c.signal(unix.SIGHUP)
	c.signal(unix.SIGTERM)
	c.prints("ending in order")
	time.Sleep(1100 * time.Millisecond)
	c.signal(unix.SIGHUP)
	c.signal(unix.SIGTERM)
	c.exits(128 + int(unix.SIGTERM))
}

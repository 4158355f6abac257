package cli_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

// waitForSignals makes this test's binary a program that is slow to end.
const waitForSignals = "IXCAP_CLI_WAIT"

func TestMain(m *testing.M) {
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

func TestFirstSignalEndsInOrderAndTheSecondAtOnce(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), self)
	c.Env = append(os.Environ(), waitForSignals+"=1")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	lines := bufio.NewScanner(out)
	require.NoError(t, c.Start())
	for _, want := range []string{"ready", "ending in order"} {
		require.True(t, lines.Scan())
		require.Equal(t, want, lines.Text())
		require.NoError(t, c.Process.Signal(unix.SIGINT))
	}
	var exit *exec.ExitError
	require.ErrorAs(t, c.Wait(), &exit)
	require.Equal(t, 128+int(unix.SIGINT), exit.ExitCode())
}

func TestEachErrorIsOneLine(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c\nd")
	require.Equal(t, []string{"a", "b", "c; d"}, cli.Lines(errors.Join(a, errors.Join(b, c))))
	require.Equal(t, []string{"x: a b"}, cli.Lines(fmt.Errorf("x: %w %w", a, b)))
	require.Equal(t, []string{"x: a; b"}, cli.Lines(fmt.Errorf("x: %w", errors.Join(a, b))))
}

func TestOutputThatIsAnInputIsRefused(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	require.NoError(t, os.WriteFile(in, []byte("precious"), 0o644))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(in, link))
	for _, out := range []string{in, link} {
		_, err := cli.Create(out, []string{"-", "nosuch", in})
		require.ErrorContains(t, err, "also an input")
	}
	kept, err := os.ReadFile(in)
	require.NoError(t, err)
	require.Equal(t, "precious", string(kept))
	f, err := cli.Create(filepath.Join(dir, "new"), []string{in})
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

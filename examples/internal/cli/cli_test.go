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

func TestSizesAreWordsWithUnits(t *testing.T) {
	for text, want := range map[string]int64{
		"2GiB": 2 << 30, "256MiB": 256 << 20, "64KiB": 64 << 10, "1TiB": 1 << 40,
		"1.5MiB": 3 << 19, "2GB": 2e9, "1500kB": 15e5, "7MB": 7e6, "4096": 4096, "12B": 12, "0": 0, "3 MiB": 3 << 20,
	} {
		s, err := cli.ParseSize(text)
		require.NoError(t, err, text)
		require.EqualValues(t, want, s, text)
	}
	for _, text := range []string{"", "MiB", "2G", "2X", "-1MiB", "1.3B", "9999999TiB", "NaN", "1e400", "Inf", "2 Gi B"} {
		_, err := cli.ParseSize(text)
		require.ErrorContains(t, err, "256MiB or 2GiB", text)
	}
	for size, want := range map[cli.Size]string{2 << 30: "2GiB", 3 << 19: "1536KiB", 5: "5B", 0: "0B", 1 << 40: "1TiB"} {
		require.Equal(t, want, size.String())
		back, err := cli.ParseSize(want)
		require.NoError(t, err)
		require.Equal(t, size, back)
	}
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

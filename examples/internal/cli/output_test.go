package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/internal/testtime"
)

// pipe is a pipe with little room.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	fds := make([]int, 2)
	require.NoError(t, unix.Pipe2(fds, unix.O_CLOEXEC))
	r, w = os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "writer")
	_, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestPrinterDoesNotWaitForAPipeThatIsNotRead(t *testing.T) {
	r, w := pipe(t)
	p := NewPrinter(w, "prog")
	log := Logger(p, "prog", false)
	const lines = 100_000
	for i := range lines {
		log.Warn("listener detached", "line", i)
	}
	dropped := p.Dropped()
	require.NotZero(t, dropped)
	require.False(t, p.Flush(10*time.Millisecond))
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r)
		text <- string(all)
	}()
	require.True(t, p.Flush(testtime.Deadline))
	require.NoError(t, w.Close())
	got := <-text
	require.Contains(t, got, fmt.Sprintf("prog: warning: %d log messages dropped in the last ", dropped))
	require.EqualValues(t, lines, uint64(strings.Count(got, "prog: warning: listener detached line="))+dropped)
}

func TestLinesThatFailAreCountedAndToldLater(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	defer full.Close()
	w := &struct{ io.Writer }{full}
	p := NewPrinter(w, "prog")
	fmt.Fprintln(p, "lost")
	require.True(t, p.Flush(testtime.Deadline))
	require.EqualValues(t, 1, p.Dropped())
	var b strings.Builder
	w.Writer = &b
	fmt.Fprintln(p, "written")
	require.True(t, p.Flush(testtime.Deadline))
	require.Regexp(t, `^prog: warning: 1 log message dropped in the last .*\nwritten\n$`, b.String())
}

func TestProgressThatCannotBeWrittenIsLeftOut(t *testing.T) {
	r, w := pipe(t)
	bar := Bar{W: NewPrinter(w, "prog")}
	for range 1000 {
		bar.Print(capture.Rate{Lost: 1})
	}
	text := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(r)
		text <- string(all)
	}()
	require.True(t, bar.W.Flush(testtime.Deadline))
	require.NoError(t, w.Close())
	require.Less(t, len(<-text), 8<<10)
	require.Zero(t, bar.W.Dropped(), "a rate that is left out is no loss of log")
}

func TestPrintGivesUpWhenNothingIsRead(t *testing.T) {
	_, w := pipe(t)
	stdout, timeout := os.Stdout, printTimeout
	os.Stdout, printTimeout = w, 50*time.Millisecond
	defer func() { os.Stdout, printTimeout = stdout, timeout }()
	err := Print(func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("x", 64<<10))
		return err
	})
	require.ErrorContains(t, err, "write standard output: it was not read for 50ms")
	failed := errors.New("no ledger")
	require.ErrorIs(t, Print(func(io.Writer) error { return failed }), failed)
}

func TestStatusOfAClosedStandardOutputIsThatOfSIGPIPE(t *testing.T) {
	gone := &fs.PathError{Op: "write", Path: os.Stdout.Name(), Err: unix.EPIPE}
	for _, c := range []struct {
		err    error
		status int
		lines  string
	}{
		{nil, 0, ""},
		{fmt.Errorf("write packet: %w", gone), 141, ""},
		{errors.Join(gone, gone), 141, ""},
		{errors.Join(gone, errors.New("a.raw: no such file")), Failure, "prog: write /dev/stdout: broken pipe\nprog: a.raw: no such file\n"},
		{&fs.PathError{Op: "write", Path: "/run/fifo", Err: unix.EPIPE}, Failure, "prog: write /run/fifo: broken pipe\n"},
	} {
		var b strings.Builder
		cmd := &cobra.Command{Use: "prog"}
		cmd.SetErr(&b)
		require.Equal(t, c.status, status(cmd, c.err))
		require.Equal(t, c.lines, b.String())
	}
}

func TestTerminalGetsNoPackets(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer master.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal := fmt.Sprintf("/dev/pts/%d", n)
	_, err = Create(terminal, nil, false)
	require.ErrorContains(t, err, "output "+terminal+": is a terminal, and packets are binary. Append a pipe")
	out, err := CreateText(terminal, nil, false)
	require.NoError(t, err)
	require.NoError(t, out.Commit())
}

package cli_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

func TestEachErrorIsOneLine(t *testing.T) {
	a, b, c := errors.New("a"), errors.New("b"), errors.New("c\nd")
	require.Equal(t, []string{"a", "b", "c; d"}, cli.Lines(errors.Join(a, errors.Join(b, c))))
	require.Equal(t, []string{"x: a b"}, cli.Lines(fmt.Errorf("x: %w %w", a, b)))
	require.Equal(t, []string{"x: a; b"}, cli.Lines(fmt.Errorf("x: %w", errors.Join(a, b))))
}

// An output that is an input is refused, whatever names the file.
func TestOutputThatIsAnInputIsRefused(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	in := filepath.Join(dir, "in")
	require.NoError(t, os.WriteFile(in, []byte("precious"), 0o644))
	link, hard := filepath.Join(dir, "link"), filepath.Join(dir, "hard")
	require.NoError(t, os.Symlink(in, link))
	require.NoError(t, os.Link(in, hard))
	open, err := os.OpenFile(in, os.O_RDWR|os.O_APPEND, 0)
	require.NoError(t, err)
	defer open.Close()
	fd := fmt.Sprint(open.Fd())
	for _, out := range []string{in, link, hard, "in", "../" + filepath.Base(dir) + "/in", "/proc/self/fd/" + fd, "/dev/fd/" + fd} {
		for _, input := range []string{in, link, hard, "/dev/fd/" + fd} {
			_, err := cli.Create(out, []string{"-", "nosuch", input}, true)
			require.ErrorContains(t, err, "also an input", "%s of %s", out, input)
		}
	}
	_, err = cli.Create(in, []string{filepath.Dir(dir)}, true)
	require.ErrorContains(t, err, "also an input", "in a directory that is read")

	// Standard input and output, of a shell's redirections.
	stdin, stdout := os.Stdin, os.Stdout
	os.Stdin, os.Stdout = open, open
	_, err = cli.Create(hard, []string{"-"}, true)
	_, err2 := cli.Create("-", []string{in}, true)
	_, err3 := cli.Create("/dev/stdout", []string{in}, true)
	os.Stdin, os.Stdout = stdin, stdout
	for _, err := range []error{err, err2, err3} {
		require.ErrorContains(t, err, "also an input")
	}

	kept, err := os.ReadFile(in)
	require.NoError(t, err)
	require.Equal(t, "precious", string(kept))
	f, err := cli.Create(filepath.Join(dir, "new"), []string{in}, false)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// Descriptors, pipes and devices are written directly.
func TestOutputsThatAreNoFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) {
		t.Helper()
		f, err := cli.Create(name, []string{"-"}, false)
		require.NoError(t, err, name)
		_, err = f.WriteString("text")
		require.NoError(t, err)
		require.NoError(t, f.Commit())
		require.NoError(t, f.Close())
	}
	write("/dev/null")

	file, err := os.Create(filepath.Join(dir, "out"))
	require.NoError(t, err)
	defer file.Close()
	write(fmt.Sprintf("/dev/fd/%d", file.Fd()))
	write(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	b, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.Equal(t, "texttext", string(b), "the caller opened it: no --force, and the offset goes on")

	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	r, err := os.OpenFile(fifo, os.O_RDWR, 0)
	require.NoError(t, err)
	defer r.Close()
	write(fifo)
	got := make([]byte, 4)
	_, err = io.ReadFull(r, got)
	require.NoError(t, err)
	require.Equal(t, "text", string(got))
	st, err := os.Stat(fifo)
	require.NoError(t, err)
	require.NotZero(t, st.Mode()&fs.ModeNamedPipe, "it was not replaced")

	_, err = cli.Create(fifo, []string{fifo}, true)
	require.ErrorContains(t, err, "also an input")
	_, err = cli.Create("/dev/fd/987654", nil, true)
	require.ErrorContains(t, err, "bad file descriptor")
	_, err = cli.Create(dir, nil, true)
	require.ErrorContains(t, err, "is a directory")
	dangling := filepath.Join(dir, "dangling")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere"), dangling))
	_, err = cli.Create(dangling, nil, true)
	require.ErrorContains(t, err, "symbolic link to a file that does not exist")
}

func TestPipesOfOtherFormatsAreRecognised(t *testing.T) {
	for format, head := range map[string]string{
		"pcap": "\xd4\xc3\xb2\xa1\x02\x00\x03\x00\x00\x00\x00\x00", "pcapng": "\n\r\r\n\x1c\x00\x00\x00\x1a\x2b\x3c\x4d",
		"zstd": "\x28\xb5\x2f\xfd\x00\x00\x00\x00\x00\x00\x00\x00", "gzip": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00\x00",
	} {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		_, err = w.WriteString(head)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		_, err = cli.OpenRAW(fmt.Sprintf("/dev/fd/%d", r.Fd()))
		require.ErrorContains(t, err, "is a "+format+" file, not a RAW file. ")
		if strings.HasPrefix(format, "pcap") {
			require.ErrorContains(t, err, ". pcap2raw reads it")
		} else {
			require.ErrorContains(t, err, ". Decompress it if it holds RAW; ")
		}
		require.NoError(t, r.Close())
	}
}

func TestOutputGetsItsNameWhenItIsCommitted(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "out")
	read := func() string {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		return string(b)
	}
	f, err := cli.Create(name, nil, false)
	require.NoError(t, err)
	_, err = f.WriteString("one")
	require.NoError(t, err)
	require.NoFileExists(t, name)
	require.NoError(t, f.Commit())
	require.NoError(t, f.Close())
	require.Equal(t, "one", read())

	_, err = cli.Create(name, nil, false)
	require.ErrorContains(t, err, "file exists")
	f, err = cli.Create(name, nil, true)
	require.NoError(t, err)
	_, err = f.WriteString("two")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, "one", read(), "a discarded output replaces nothing")
	f, err = cli.Create(name, nil, true)
	require.NoError(t, err)
	_, err = f.WriteString("three")
	require.NoError(t, err)
	require.NoError(t, f.Commit())
	require.Equal(t, "three", read())

	late := filepath.Join(dir, "late")
	f, err = cli.Create(late, nil, false)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(late, []byte("appeared"), 0o644))
	require.ErrorIs(t, f.Commit(), fs.ErrExist)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary file is left")
}

// program is a command with a flag of each kind.
func program(ran *[]string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "prog [flags] IN...", Short: "Test the command line", Example: "  prog -w x in",
		Args: cobra.ArbitraryArgs, Annotations: map[string]string{cli.ExitStatus: "4 at once"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			*ran = args
			return nil
		},
	}
	cli.Group(cmd, "Files", func(flags *pflag.FlagSet) { flags.StringP("write", "w", "", "write this `file`") })
	cli.Group(cmd, "Run", func(flags *pflag.FlagSet) {
		flags.Int("count", 0, "end after `N`")
		flags.Uint("bytes", 0, "end after `N`")
		flags.Bool("yes", false, "agree")
		var segment units.Size
		var wait units.Duration
		var dedup string
		flags.Var(&segment, "segment", "`size`")
		flags.Var(&wait, "wait", "`time`")
		flags.StringVar(&dedup, "dedup", "", "drop by `settings`")
		flags.Lookup("dedup").NoOptDefVal = "true"
		flags.StringArray("name", nil, "`name`s")
	})
	return cmd
}

func TestCommandLines(t *testing.T) {
	var ran []string
	require.NoError(t, cli.Execute(program(&ran), "a", "-w", "x", "b", "--count=3"))
	require.Equal(t, []string{"a", "b"}, ran, "flags after operands")
	require.NoError(t, cli.Execute(program(&ran), "--name", "a", "--name", "b", "--yes", "--yes", "--", "-count"))
	require.Equal(t, []string{"-count"}, ran)
	for args, says := range map[string]string{
		"--wirte x":                    "Did you mean --write?",
		"-count 3":                     "Did you mean --count?",
		"-write=x":                     "Did you mean --write?",
		"-help":                        "Did you mean --help?",
		"--out x":                      "Did you mean --write?",
		"-w x -w y":                    "--write: the flag is given twice. Give it once",
		"--count ''":                   `--count "''": must be a number`,
		"--count=":                     `--count "": must be a number`,
		"--bytes -1":                   `--bytes "-1": must be a number from 0`,
		"--bytes 1k":                   `--bytes "1k": must be a number from 0`,
		"--yes=maybe":                  `--yes "maybe": must be true or false`,
		"--count 99999999999999999999": "the number is too large",
		"--zzzzzzzz":                   "unknown flag: --zzzzzzzz",
		"--count many":                 `--count "many": must be a number`,
		"--write=":                     "--write: the value is empty",
	} {
		err := cli.Execute(program(&ran), strings.Fields(args)...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
		require.ErrorContains(t, err, says)
	}
}

func TestHelpHasGroupsAndExamples(t *testing.T) {
	var ran []string
	var out strings.Builder
	cmd := program(&ran)
	cmd.SetOut(&out)
	require.NoError(t, cli.Execute(cmd, "--help"))
	var at []int
	for _, part := range []string{"Usage:\n  prog [flags] IN...", "Examples:\n  prog -w x in", "\nFiles:\n", "-w, --write file", "\nRun:\n", "--count N", "\nOther:\n", "--version"} {
		require.Contains(t, out.String(), part)
		at = append(at, strings.Index(out.String(), part))
	}
	require.IsIncreasing(t, at)
	require.NotContains(t, out.String(), "(default 0")
	require.Regexp(t, `(?m)^ +--dedup\[=settings\] +drop by settings$`, out.String())
	require.NotContains(t, out.String(), "--man")
}

func TestVersionNamesCommitAndBuild(t *testing.T) {
	var ran []string
	var out strings.Builder
	cmd := program(&ran)
	cmd.SetOut(&out)
	require.NoError(t, cli.Execute(cmd, "--version"))
	require.Regexp(t, `^prog \S+ \(commit .+; go\S+ linux/\w+\)\n$`, out.String())
}

func TestCompletionForThreeShells(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var ran []string
		var out strings.Builder
		cmd := program(&ran)
		cmd.SetOut(&out)
		require.NoError(t, cli.Execute(cmd, "completion", shell))
		require.Contains(t, out.String(), "prog")
	}
	var ran []string
	var out strings.Builder
	cmd := program(&ran)
	cmd.SetOut(&out)
	require.NoError(t, cli.Execute(cmd, "__complete", "--wr"))
	require.Contains(t, out.String(), "--write")
}

func TestUnknownShellIsAUsageError(t *testing.T) {
	for _, args := range [][]string{{"completion", "tcsh"}, {"completion"}} {
		var ran []string
		err := cli.Execute(program(&ran), args...)
		require.ErrorAs(t, err, new(cli.UsageError), args)
	}
}

func TestManPagesHoldTheHelp(t *testing.T) {
	var ran []string
	dir := filepath.Join(t.TempDir(), "man")
	require.NoError(t, cli.Execute(program(&ran), "--man", dir))
	page, err := os.ReadFile(filepath.Join(dir, "prog.1"))
	require.NoError(t, err)
	require.Contains(t, string(page), "Test the command line")
	require.Contains(t, string(page), "\n.SH EXIT STATUS\n4 at once\n.SH EXAMPLES\n")
	require.Contains(t, string(page), "\\fB\\-w\\fP, \\fB\\-\\-write\\fP \\fIfile\\fP\nwrite this file\n")
	require.Nil(t, ran)
}

func TestLoggerWritesOneLinePerMessage(t *testing.T) {
	var b strings.Builder
	p := cli.NewPrinter(&b, "prog")
	l := cli.Logger(p, "prog", false)
	l.Debug("hidden")
	l.Info("ready", "cores", 2)
	l.With("port", "").Warn("one\ntwo")
	l.With("port", "eth2").With(slog.Int("queue", 3)).Error("failed", "lost", 7)
	l.Warn("link down", "at", time.Unix(1795269600, 123456789), "error", errors.New("no link"), "port", "sim:gen,size=60")
	require.True(t, p.Flush(time.Minute))
	require.Equal(t, `prog: ready cores=2
prog: warning: one; two
prog: error: eth2: queue 3: failed lost=7
prog: warning: sim:gen,size=60: link down at=2026-11-21T14:00:00.123Z error="no link"
`, b.String())
}

func TestGCPercentOfTheEnvironmentHasPrecedence(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	percent := func() int {
		n := debug.SetGCPercent(100)
		debug.SetGCPercent(n)
		return n
	}
	for _, c := range []struct {
		gogc, limit string
		want        int
	}{{"", "", 1600}, {"50", "", 100}, {"", "64MiB", 100}, {"off", "64MiB", 100}} {
		t.Setenv("GOGC", c.gogc)
		t.Setenv("GOMEMLIMIT", c.limit)
		debug.SetGCPercent(100) // as if the runtime had read it
		cli.SetGCPercent()
		require.Equal(t, c.want, percent(), "%+v", c)
	}
}

func TestNumbersAgreeWithTheirNoun(t *testing.T) {
	require.Equal(t, "0 frames lost (--fail-on-loss)", cli.LossError{}.Error())
	require.Equal(t, "1 frame lost (--fail-on-loss)", cli.LossError{Frames: 1}.Error())
	require.Equal(t, "2 frames lost (--fail-on-loss)", cli.LossError{Frames: 2}.Error())
}

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the outputs in the documents anew")

// A document is Markdown whose commands are run and whose outputs are compared.
//
//	```sh       commands, run in order in one shell, in the root of the tree
//	```text     the output of the commands before, standard error included
//
// "<!-- run: no, WHY -->" before a block excludes it. "<!-- output of: COMMAND -->"
// before an output compares it with that command's alone. In an output, a line "..."
// stands for any lines; figures and the width of columns are not compared. -update
// leaves outputs with such lines alone.
type block struct {
	kind  string // sh or text
	note  string // of the comment before
	lines []string
	line  int // of the first, from 1
}

func blocks(text string) (all []block) {
	var open *block
	note := ""
	for i, line := range strings.Split(text, "\n") {
		switch {
		case open != nil && line == "```":
			all, open = append(all, *open), nil
		case open != nil:
			open.lines = append(open.lines, line)
		case strings.HasPrefix(line, "```"):
			open = &block{kind: line[3:], note: note, line: i + 2}
			note = ""
		case strings.HasPrefix(line, "<!-- "):
			note = strings.TrimSuffix(strings.TrimPrefix(line, "<!-- "), " -->")
		case line != "":
			note = ""
		}
	}
	return all
}

var (
	figures = regexp.MustCompile(`[0-9]+([.,:][0-9]+)*`)
	unit    = regexp.MustCompile(`# (ns|us|ms|s|B|KiB|MiB|GiB)\b|#(ns|µs|us|ms|s|m|h)+\b`)
	spaces  = regexp.MustCompile(` +`)
	plural  = regexp.MustCompile(`\b(frame|file|gap|packet)s?\b`)
)

// masked is a line without its figures, and without the plurals that depend on them.
func masked(line string) string {
	line = figures.ReplaceAllString(line, "#")
	line = unit.ReplaceAllString(line, "#")
	line = plural.ReplaceAllString(line, "$1")
	return strings.TrimSpace(spaces.ReplaceAllString(line, " "))
}

// sameOutput reports the first line of want that got does not have in its place.
func sameOutput(want, got []string) (missing string, same bool) {
	skip := false
	for _, w := range want {
		if strings.TrimSpace(w) == "..." {
			skip = true
			continue
		}
		for {
			if len(got) == 0 {
				return w, false
			}
			g := got[0]
			got = got[1:]
			if masked(g) == masked(w) {
				break
			}
			if !skip {
				return w, false
			}
		}
		skip = false
	}
	return "(end of output)", skip || len(got) == 0
}

// shell is a bash that runs blocks one after the other.
type shell struct {
	t   *testing.T
	in  *bufio.Writer
	out *bufio.Scanner
}

const mark = "--- end of block, status "

func newShell(t *testing.T, dir string) *shell {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, "bash", "--norc")
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "LC_ALL=C.UTF-8", "USER=root")
	in, err := c.StdinPipe()
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	c.Stdout, c.Stderr = w, w
	require.NoError(t, c.Start())
	w.Close()
	t.Cleanup(func() {
		in.Close()
		_ = c.Wait()
		r.Close()
	})
	return &shell{t, bufio.NewWriter(in), bufio.NewScanner(r)}
}

// run returns the lines that commands print and the status of the last one.
func (s *shell) run(commands []string) (output []string, status string) {
	// Within braces a job control message cannot come between the commands.
	fmt.Fprintf(s.in, "{\n%s\n} </dev/null\necho \"%s$?\"\n", strings.Join(commands, "\n"), mark)
	require.NoError(s.t, s.in.Flush())
	for s.out.Scan() {
		if status, end := strings.CutPrefix(s.out.Text(), mark); end {
			return output, status
		}
		output = append(output, s.out.Text())
	}
	require.Fail(s.t, "the shell has ended", "%s", output)
	return nil, ""
}

func TestDocumentsDoWhatTheySay(t *testing.T) {
	skipWithRace(t)
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	for _, name := range []string{"README.md", "docs/CAPTURE.md", "docs/STORAGE.md", "docs/SEND.md", "docs/FORWARD.md"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(root, name)
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			sh := newShell(t, root)
			outputs := map[string][]string{}
			var last []string
			ran, compared := 0, 0
			if name != "README.md" { // they say that the programs have been built
				_, status := sh.run([]string{"go build -o bin/ ./examples/..."})
				require.Equal(t, "0", status)
			}
			for _, b := range blocks(string(text)) {
				switch {
				case strings.HasPrefix(b.note, "run: no"):
				case b.kind == "sh":
					require.NotRegexp(t, `2>(/dev/null|&1 *\|)|>/dev/null 2>&1`, strings.Join(b.lines, "\n"), "%s:%d: the message of a missing program is discarded", name, b.line)
					var status string
					last, status = sh.run(b.lines)
					require.Equal(t, "0", status, "%s:%d: %s\n%s", name, b.line, strings.Join(b.lines, "\n"), strings.Join(last, "\n"))
					command, _, _ := strings.Cut(b.lines[0], "#")
					outputs[strings.TrimSpace(command)] = last
					ran++
				case b.kind == "text":
					got := last
					if of, named := strings.CutPrefix(b.note, "output of: "); named {
						require.Contains(t, outputs, of)
						got = outputs[of]
					}
					compared++
					if missing, same := sameOutput(b.lines, got); !same {
						if !*update || slices.Contains(b.lines, "...") {
							t.Errorf("%s:%d: the output is another from %q on:\n%s", name, b.line, missing, strings.Join(got, "\n"))
							continue
						}
						old := "```text\n" + strings.Join(append(b.lines, "```"), "\n")
						text = bytes.Replace(text, []byte(old), []byte("```text\n"+strings.Join(append(got, "```"), "\n")), 1)
					}
				}
			}
			require.Positive(t, ran)
			require.Positive(t, compared)
			if *update {
				require.NoError(t, os.WriteFile(path, text, 0o644))
			}
		})
	}
}

func TestOutputsAreComparedWithoutFigures(t *testing.T) {
	got := []string{"   80380  frames  on the wire", "0.035 s", "the ledger balances"}
	for _, want := range [][]string{
		{"1 frames on the wire", "1.2 ms", "the ledger balances"},
		{"...", "the ledger balances"},
		{"7 frames on the wire", "..."},
	} {
		_, same := sameOutput(want, got)
		require.True(t, same, want)
	}
	for _, want := range [][]string{
		{"1 frames on the wire", "the ledger balances"},
		{"1 packets on the wire", "..."},
		{"...", "the ledger does not balance"},
		{"1 frames on the wire"},
	} {
		_, same := sameOutput(want, got)
		require.False(t, same, want)
	}
	require.Len(t, blocks("a\n<!-- run: no, it is -->\n```sh\nx\n```\nb\n```text\ny\n```\n"), 2)
	require.Equal(t, "run: no, it is", blocks("<!-- run: no, it is -->\n```sh\nx\n```\n")[0].note)
}

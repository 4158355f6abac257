package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// allPrograms builds every program under examples/ once and returns their names: each
// directory there with a package main. Those below examples/vmtest are parts of the VMs
// of its tests.
func allPrograms(t *testing.T) []string {
	t.Helper()
	skipWithRace(t)
	names, err := buildAll()
	require.NoError(t, err)
	return names
}

var buildAll = sync.OnceValues(func() (names []string, err error) {
	out, err := exec.Command("go", "list", "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, "../...").Output()
	if err != nil {
		return nil, err
	}
	args := []string{"build", "-o", bin + "/"}
	for _, path := range strings.Fields(string(out)) {
		if _, name, _ := strings.Cut(path, "/examples/"); !strings.Contains(name, "/") {
			names = append(names, name)
			args = append(args, path)
		}
	}
	build := exec.Command("go", args...)
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	return names, build.Run()
})

var (
	listed    = regexp.MustCompile(`(?m)^  ([a-z]\w*) {2,}\S`)       // a command in the usage
	shortFlag = regexp.MustCompile(`(?m)^  -(\w), --([\w-]+)`)       // a flag with a short form
	longFlag  = regexp.MustCompile(`(?m)^ {6}--([\w-]+)(?:\s|\[|$)`) // a flag without
)

// helps returns the output of --help of a program and of each of its commands.
func helps(t *testing.T, program string) map[string]string {
	t.Helper()
	help := succeed(t, program, "--help").stdout
	all := map[string]string{program: help}
	if _, rest, ok := strings.Cut(help, "\nCommands:\n"); ok {
		list, _, _ := strings.Cut(rest, "\n\n")
		for _, m := range listed.FindAllStringSubmatch(list, -1) {
			all[program+" "+m[1]] = succeed(t, program, m[1], "--help").stdout
		}
		require.Len(t, all, 2+strings.Count(list, "\n"), "a page for each command of %s", program)
	}
	return all
}

func TestEachProgramHasHelpVersionAndManPages(t *testing.T) {
	programs := allPrograms(t)
	for _, name := range []string{"benchstore", "captop", "demo", "doctor", "forward", "hpcapctl", "hpcapdd", "hpcapq", "nicsim", "nicstat", "pcap2raw", "pktgen", "raw2pcap", "raw2tstamp", "replay", "stress", "timestamps", "wirecap"} {
		require.Contains(t, programs, name)
	}
	for _, name := range programs {
		t.Run(name, func(t *testing.T) {
			pages := filepath.Join(t.TempDir(), "man")
			succeed(t, name, "--man", pages)
			all := helps(t, name)
			for command, help := range all {
				require.Contains(t, help, "\nUsage:\n  "+command, command)
				require.Regexp(t, `(?m)^  -h, --help +print this help$`, help, command)
				require.NotContains(t, help, "--man")
				page, err := os.ReadFile(filepath.Join(pages, strings.ReplaceAll(command, " ", "-")+".1"))
				require.NoError(t, err)
				require.Contains(t, string(page), `.TH "`+strings.ToUpper(strings.ReplaceAll(command, " ", "-"))+`" 1 `)
				require.Contains(t, string(page), "\n.SH SYNOPSIS\n.nf\n\\fB"+command)
				for _, m := range append(longFlag.FindAllStringSubmatch(help, -1), shortFlag.FindAllStringSubmatch(help, -1)...) {
					require.Contains(t, string(page), `\fB\-\-`+strings.ReplaceAll(m[len(m)-1], "-", `\-`)+`\fP`, command)
				}
			}
			entries, err := os.ReadDir(pages)
			require.NoError(t, err)
			require.Len(t, entries, len(all), "a page for each command")

			_, examples, ok := strings.Cut(all[name], "\nExamples:\n")
			require.True(t, ok, "no examples")
			examples, _, _ = strings.Cut(examples, "\n\n")
			for line := range strings.Lines(examples) {
				require.Regexp(t, `^  `+name+`( |$)`, strings.TrimRight(line, "\n"))
			}
			page, err := os.ReadFile(filepath.Join(pages, name+".1"))
			require.NoError(t, err)
			require.Contains(t, string(page), "\n.SH EXAMPLES\n")

			require.Regexp(t, `^`+name+` \S+ \(commit .+; go\S+ linux/\w+\)\n$`, succeed(t, name, "--version").stdout)
			require.Contains(t, fail(t, "unknown flag: --nonsense", name, "--nonsense").stderr, "(--help shows the usage)")
			require.Equal(t, 2, run(t, name, "--nonsense").status)
		})
	}
}

// conventions are the short flags of all programs. A short flag has one meaning, and a
// flag of such a name has its short form, in every program.
var conventions = map[string]string{
	"B": "buffer", "C": "segment", "F": "format", "G": "rotate", "W": "keep-files",
	"c": "count", "f": "filter", "h": "help", "i": "interface", "n": "dry-run",
	"r": "read", "s": "snaplen", "v": "verbose", "w": "write", "z": "command",
}

func TestShortFlagsMeanTheSameInEachProgram(t *testing.T) {
	short := map[string]string{}
	for s, long := range conventions {
		short[long] = s
	}
	used := map[string]bool{}
	for _, name := range allPrograms(t) {
		for command, help := range helps(t, name) {
			for _, m := range shortFlag.FindAllStringSubmatch(help, -1) {
				require.Equal(t, conventions[m[1]], m[2], "%s: -%s", command, m[1])
				used[m[1]] = true
			}
			for _, m := range longFlag.FindAllStringSubmatch(help, -1) {
				require.Empty(t, short[m[1]], "%s: --%s has no short form", command, m[1])
			}
		}
	}
	require.Len(t, used, len(conventions), "each convention is in use: %v", used)
}

// An unset variable in a script must not mean "all" or the default.
func TestEmptyValuesAreRejectedByEachProgram(t *testing.T) {
	value := regexp.MustCompile(`(?m)^  (?:-\w, |    )--([\w-]+)(?: |\[=)\w`) // a flag with a value
	for _, name := range allPrograms(t) {
		for command, help := range helps(t, name) {
			words := strings.Fields(command)[1:]
			flags := value.FindAllStringSubmatch(help, -1)
			if command == "hpcapctl" {
				continue // its flags are those of its commands
			}
			for _, m := range flags {
				operands := map[string][]string{"hpcapctl detach": {"x"}, "hpcapctl policy": {"x", "lossy"}, "hpcapctl rules": {"drop"}}[command]
				for _, empty := range []string{"", " "} {
					r := run(t, name, append(append(words, "--"+m[1]+"="+empty), operands...)...)
					require.Equal(t, 2, r.status, "%s --%s=%s: %s", command, m[1], empty, r.stderr)
					require.Contains(t, r.stderr, "--"+m[1], command)
				}
			}
		}
	}
}

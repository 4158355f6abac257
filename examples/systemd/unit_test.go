package systemd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/settings"
)

// analyze runs systemd-analyze.
func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is missing: apt install systemd")
	}
	c := exec.CommandContext(t.Context(), tool, args...)
	c.Env = append(os.Environ(), "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "LC_ALL=C.UTF-8")
	out, err := c.CombinedOutput()
	return string(out), err
}

// unit is a copy of a unit that runs a program of this machine. A template gets an
// instance.
func unit(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	program, err := os.Executable()
	require.NoError(t, err)
	programs := regexp.MustCompile(`/usr/local/bin/[a-z-]+`)
	require.Regexp(t, programs, string(text))
	path := filepath.Join(t.TempDir(), strings.Replace(name, "@", "@eth2", 1))
	require.NoError(t, os.WriteFile(path, programs.ReplaceAll(text, []byte(program)), 0o644))
	return path
}

func TestSystemdUnderstandsEveryLineOfTheUnits(t *testing.T) {
	for _, name := range []string{"ixcap.service", "ixcap-bind@.service"} {
		t.Run(name, func(t *testing.T) {
			path := unit(t, name)
			out, err := analyze(t, "verify", "--man=no", path)
			require.NoError(t, err, out)
			var ours []string
			for line := range strings.Lines(out) { // other units of the machine may have mistakes
				if strings.Contains(line, "ixcap") {
					ours = append(ours, line)
				}
			}
			require.Empty(t, ours)

			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, append(text, []byte("\n[Service]\nNoNewPriviledges=yes\n")...), 0o644))
			out, _ = analyze(t, "verify", "--man=no", path)
			require.Contains(t, out, "NoNewPriviledges", "a line that systemd does not understand is found")
		})
	}
}

func TestUnitLeavesLittleExposed(t *testing.T) {
	path := unit(t, "ixcap.service")
	out, err := analyze(t, "security", "--offline=true", "--threshold=20", "--no-pager", path) // 2.0 of 10
	if strings.Contains(out, "unrecognized option") {
		t.Skip("this systemd-analyze cannot examine a file: systemd 250 or later is needed")
	}
	require.NoError(t, err, out)
	require.Contains(t, out, "Overall exposure level")
	_, err = analyze(t, "security", "--offline=true", "--threshold=5", "--no-pager", path)
	require.Error(t, err, "the threshold is checked")
}

// script is the first block of README.md.
func script(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		code, ok := strings.CutPrefix(line, "    ")
		if ok {
			lines = append(lines, code)
		} else if len(lines) > 0 {
			break
		}
	}
	return strings.Join(lines, "")
}

// hugePages is the number of 2 MiB pages that a port takes: for each queue the stream,
// its index of an eighth of that with a header, and 6 for the ring and its packet buffers.
func hugePages(p settings.Port) int {
	return max(p.Queues, 1) * (int(p.Buffer>>21+p.Buffer>>24) + 1 + 6)
}

// The block of README.md runs from its first to its last line in a root folder of
// the test, where programs that need a real machine only log their arguments.
func TestInstallationCanBePasted(t *testing.T) {
	root, tools := t.TempDir(), t.TempDir()
	log := filepath.Join(root, "log")
	for name, body := range map[string]string{
		"sudo": `exec "$@"`, "systemctl": `echo "systemctl $*" >>` + log, "systemd-sysusers": `echo "systemd-sysusers $*" >>` + log,
		"go": `mkdir -p bin; for p in hpcapdd hpcapctl hpcapq; do echo >bin/$p; done; echo "go $*" >>` + log,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	}
	work := t.TempDir()
	examples, err := filepath.Abs("..")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(examples, filepath.Join(work, "examples")))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "usr/local/bin"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/systemd/system"), 0o755))
	text := regexp.MustCompile(` (/etc/|/usr/local/)`).ReplaceAllString(script(t), " "+root+"$1")
	c := exec.CommandContext(t.Context(), "bash", "-eu")
	c.Dir, c.Stdin = work, strings.NewReader(text)
	c.Env = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"))
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)

	for _, program := range []string{"hpcapdd", "hpcapctl", "hpcapq", "vfio-bind"} {
		st, err := os.Stat(filepath.Join(root, "usr/local/bin", program))
		require.NoError(t, err)
		require.EqualValues(t, 0o755, st.Mode().Perm())
	}
	for _, unit := range []string{"ixcap.service", "ixcap-bind@.service"} {
		installed, err := os.ReadFile(filepath.Join(root, "etc/systemd/system", unit))
		require.NoError(t, err)
		for _, program := range regexp.MustCompile(`(?m)^Exec\w+=(/usr/local/\S+)`).FindAllStringSubmatch(string(installed), -1) {
			require.FileExists(t, filepath.Join(root, program[1]), "the unit's program is installed")
		}
	}
	users, err := os.ReadFile(filepath.Join(root, "etc/sysusers.d/ixcap.conf"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^u ixcap `, string(users))
	s, err := settings.Load(filepath.Join(root, "etc/ixcap/ixcap.toml"))
	require.NoError(t, err)
	require.Equal(t, "eth2", s.Ports[0].Device)
	require.Equal(t, settings.Dirs{"/var/lib/ixcap"}, s.Ports[0].Storage.Dirs)
	bind, err := os.ReadFile(filepath.Join(root, "etc/systemd/system/ixcap-bind@.service"))
	require.NoError(t, err)
	require.Contains(t, string(bind), fmt.Sprintf("\nEnvironment=HUGEPAGES=%d\n", hugePages(s.Ports[0])), "enough for the settings")
	require.Equal(t, 583, hugePages(settings.Port{Queues: 1, Buffer: 1 << 30}), "as the documents say")

	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, remove, _ := strings.Cut(string(readme), "## Remove\n")
	for _, installed := range []string{
		"/usr/local/bin/hpcapdd", "/usr/local/bin/hpcapctl", "/usr/local/bin/hpcapq", "/usr/local/bin/vfio-bind",
		"/etc/systemd/system/ixcap.service", "/etc/systemd/system/ixcap-bind@.service", "/etc/sysusers.d/ixcap.conf",
	} {
		require.FileExists(t, filepath.Join(root, installed))
		require.Contains(t, strings.Fields(remove), installed, "it is removed")
	}

	did, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Equal(t, []string{
		"go build -o bin/ ./examples/hpcapdd ./examples/hpcapctl ./examples/hpcapq", "systemd-sysusers ", "systemctl daemon-reload",
		"systemctl enable --now ixcap-bind@eth2.service", "systemctl enable --now ixcap.service",
		"systemctl status --no-pager ixcap-bind@eth2.service ixcap.service",
	}, strings.Split(strings.TrimSuffix(string(did), "\n"), "\n"))
}

func TestSysusersUnderstandsTheUser(t *testing.T) {
	tool, err := exec.LookPath("systemd-sysusers")
	if err != nil {
		t.Skip("systemd-sysusers is missing: apt install systemd")
	}
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	file, err := filepath.Abs("ixcap.sysusers.conf")
	require.NoError(t, err)
	out, err := exec.CommandContext(t.Context(), tool, "--root="+root, "-").CombinedOutput()
	if err != nil {
		t.Skipf("systemd-sysusers --root does not work here: %s", out)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), tool, "--root="+root, "-")
	c.Stdin = strings.NewReader(string(text))
	out, err = c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^ixcap:`, string(passwd))
}

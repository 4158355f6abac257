package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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

// unit is the shipped unit with a program that this machine has.
func unit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("ixcap.service")
	require.NoError(t, err)
	program, err := os.Executable()
	require.NoError(t, err)
	require.Contains(t, string(text), "/usr/local/bin/hpcapdd")
	path := filepath.Join(t.TempDir(), "ixcap.service")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/hpcapdd", program)), 0o644))
	return path
}

func TestSystemdUnderstandsEveryLineOfTheUnit(t *testing.T) {
	path := unit(t)
	out, err := analyze(t, "verify", "--man=no", path)
	require.NoError(t, err, out)
	var ours []string
	for line := range strings.Lines(out) { // other units of the machine may have mistakes of their own
		if strings.Contains(line, "ixcap") {
			ours = append(ours, line)
		}
	}
	require.Empty(t, ours)

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(text, []byte("\n[Service]\nNoNewPriviledges=yes\n")...), 0o644))
	out, _ = analyze(t, "verify", "--man=no", path)
	require.Contains(t, out, "NoNewPriviledges", "a line that systemd does not understand would be found")
}

func TestUnitLeavesLittleExposed(t *testing.T) {
	path := unit(t)
	out, err := analyze(t, "security", "--offline=true", "--threshold=20", "--no-pager", path) // 2.0 of 10
	if strings.Contains(out, "unrecognized option") {
		t.Skip("this systemd-analyze cannot look at a file: systemd 250 or later is needed")
	}
	require.NoError(t, err, out)
	require.Contains(t, out, "Overall exposure level")
	_, err = analyze(t, "security", "--offline=true", "--threshold=5", "--no-pager", path)
	require.Error(t, err, "the threshold is looked at")
}

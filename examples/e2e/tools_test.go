package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// installTools runs .ci/tools for a package that is missing, with an apt-get that
// prints its arguments and the exit status of policy-rc.d.
func installTools(t *testing.T, uid, policy string) (string, error) {
	t.Helper()
	skipWithRace(t)
	bin := t.TempDir()
	for name, body := range map[string]string{
		"id":      "echo " + uid,
		"apt-get": `if [ "$1" = install ]; then s=0; "$POLICY_RC_D" || s=$?; echo "$* $s" >>"$APT_LOG"; fi`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	}
	log := filepath.Join(bin, "log")
	c := exec.CommandContext(t.Context(), "../../.ci/tools", "no-such-program:prometheus", "sh:dash")
	c.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "POLICY_RC_D="+policy, "APT_LOG="+log)
	out, err := c.CombinedOutput()
	if err != nil {
		return string(out), err
	}
	did, err := os.ReadFile(log)
	require.NoError(t, err)
	return string(did), nil
}

func TestToolsAreInstalledWithoutServices(t *testing.T) {
	const install = "install -q -y --no-install-recommends prometheus "
	policy := filepath.Join(t.TempDir(), "policy-rc.d")
	out, err := installTools(t, "0", policy)
	require.NoError(t, err, out)
	require.Equal(t, install+"101\n", out)
	require.NoFileExists(t, policy, "it is removed at the end")

	own := []byte("#!/bin/sh\nexit 7\n")
	require.NoError(t, os.WriteFile(policy, own, 0o755))
	out, err = installTools(t, "0", policy)
	require.NoError(t, err, out)
	require.Equal(t, install+"7\n", out, "the machine's own policy is in force")
	text, err := os.ReadFile(policy)
	require.NoError(t, err)
	require.Equal(t, own, text)
}

func TestToolsPrintTheCommandToUsers(t *testing.T) {
	out, err := installTools(t, "1000", filepath.Join(t.TempDir(), "policy-rc.d"))
	require.Error(t, err)
	require.Contains(t, out, "    sudo apt-get install --no-install-recommends prometheus\n")
}

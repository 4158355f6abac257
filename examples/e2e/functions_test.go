package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/internal/testtime"
)

// One process captures from a port and offers virtual functions, another from one of these,
// to which a mirror rule copies what arrives. It goes on when the first is restarted.
func TestAPortAndAVirtualFunctionOfItAreCaptured(t *testing.T) {
	t.Parallel()
	sock := filepath.Join(t.TempDir(), "nic.sock")
	model := launch(t, command(t, "nicsim", "--socket", sock, "--wire", "gen,count=forever,rate=5kpps,size=200-1500,vfs=2"))
	model.waitStderr("virtual function 1 on")
	share := filepath.Join(t.TempDir(), "share")
	status := func() string {
		return run(t, "hpcapctl", "--socket", filepath.Join(share, "control.sock"), "status").stdout
	}
	offer := func() *program {
		p := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+sock, "-w", "null", "--buffer", "4MiB", "--json", "--share", share,
			"--vfs", "default, mac=02:00:00:00:01:01 trust=on vlan=7", "--mirror", "to=0 uplink, to=port vlans=7"))
		require.Eventually(t, func() bool {
			return strings.Contains(status(), "running")
		}, testtime.Deadline, testtime.Deadline/1000, "not running: %s", &p.stderr)
		return p
	}
	port := offer()
	dir := t.TempDir()
	function := launch(t, command(t, "hpcapdd", "-i", "vfio-user:"+sock+".vf0", "-w", dir, "--buffer", "4MiB", "--json"))
	waitBytes(t, dir, 2<<20)
	text := status()
	require.Regexp(t, `0 +[0-9a-f:]{17} +in use +1\.5 +- +- +\d+, \d refused`, text)
	require.Regexp(t, `1 +02:00:00:00:01:01 +not in use +1\.0 +7 of the port +trust +0, 0 refused`, text)
	require.Contains(t, text, "mirror rule 0: uplink to function 0\nmirror rule 1: VLANs 7 to the port\n")

	first := ledger(t, port.end(unix.SIGINT))
	require.NotZero(t, first.Account.Received)
	function.waitStderr("no frames arrive until it answers")
	port = offer()
	function.waitStderr("the function has started again")
	waitBytes(t, dir, 4<<20)

	r := function.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	require.NotZero(t, l.Frames())
	require.Equal(t, l.Account.Wire, l.Account.Received)
	require.NotZero(t, ledger(t, port.end(unix.SIGINT)).Account.Received)
}

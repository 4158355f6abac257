//go:build vmtest

package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bootedByHTTP is on the command line of the kernel that iPXE boots.
const bootedByHTTP = "ixcap.http"

// TestIpxe boots a kernel by DHCP and HTTP with iPXE's driver intelx. iPXE polls. The
// servers are busybox's.
func TestIpxe(t *testing.T) {
	t.Parallel()
	p := newPeer(t, 0, peerAddress+"/24")
	dir := t.TempDir()
	kernel, err := os.ReadFile(filepath.Join(vmDir, "kernel/6.1/vmlinuz"))
	require.NoError(t, err)
	script := "#!ipxe\nkernel vmlinuz console=ttyS0 panic=-1 " + bootedByHTTP + "\nboot\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vmlinuz"), kernel, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "boot.ipxe"), []byte(script), 0o644))
	leases := filepath.Join(t.TempDir(), "leases")
	require.NoError(t, os.WriteFile(leases, nil, 0o644))
	config := filepath.Join(t.TempDir(), "udhcpd.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `interface eth0
start 192.0.2.10
end 192.0.2.10
lease_file %s
pidfile %s.pid
option subnet 255.255.255.0
boot_file http://%s/boot.ipxe
`, leases, leases, peerAddress), 0o644))
	dhcp := p.serve(t, "udhcpd", "-f", config)
	http := p.serve(t, "httpd", "-f", "-vv", "-p", peerAddress+":80", "-h", dir)

	v := boot(t, machine{IPXE: true, NICs: []nic{{Wire: "mac=" + modelMAC + ",packet=" + p.Wire}}})
	v.mayBreak = true // the kernel panics: it has no root file system
	ok := step(t, "DHCP", func(t *testing.T) {
		v.awaitConsole(t, "net0: 192.0.2.10/255.255.255.0", ipxeDeadline)
		require.Contains(t, v.console.String(), "net0: "+modelMAC+" using 82599-sfp")
		require.Contains(t, dhcp.String(), "sending ACK to 192.0.2.10")
	})
	if !ok {
		t.FailNow()
	}
	step(t, "HTTP: a script and the kernel that it boots", func(t *testing.T) {
		v.awaitConsole(t, "Command line: console=ttyS0 panic=-1 "+bootedByHTTP, ipxeDeadline)
		v.awaitConsole(t, "Unable to mount root fs", ipxeDeadline)
		for _, file := range []string{"boot.ipxe", "vmlinuz"} {
			require.Contains(t, http.String(), "GET /"+file+"\n")
		}
	})
	step(t, "all frames counted", func(t *testing.T) {
		c := v.nic(0).stats(t)
		require.NoError(t, c.Balanced())
		require.Greater(t, c.DeliveredBytes, uint64(len(kernel)))
		require.Zero(t, c.Unwritten+c.BadCRC+c.Oversize+c.SendError, "%+v", c)
	})
}

// ipxeDeadline is the time limit of a step of the boot.
const ipxeDeadline = 5 * time.Minute

// serve runs a server of busybox in the namespace until the end of the test. It returns
// its output.
func (p *peer) serve(t *testing.T, applet string, args ...string) *transcript {
	t.Helper()
	out := &transcript{}
	cmd := exec.Command(filepath.Join(vmDir, "userland/usr/bin/busybox"), append([]string{applet}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	c, err := startChild(applet, cmd, int(p.ns))
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.stop(os.Interrupt, 5*time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("--- %s ---\n%s", applet, tail(out.String(), 30))
		}
	})
	return out
}

// awaitConsole waits until the console shows the text.
func (v *vm) awaitConsole(t *testing.T, text string, deadline time.Duration) {
	t.Helper()
	for start := time.Now(); !strings.Contains(v.console.String(), text); time.Sleep(50 * time.Millisecond) {
		select {
		case <-v.qemu.done:
			if !strings.Contains(v.console.String(), text) {
				t.Fatalf("QEMU ended before the console showed %q", text)
			}
			return
		default:
		}
		if time.Since(start) > deadline || time.Now().After(runEnds) {
			t.Fatalf("the console does not show %q within %v", text, time.Since(start).Round(time.Second))
		}
	}
}

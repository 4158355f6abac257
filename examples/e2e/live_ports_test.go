package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/internal/testtime"
)

// Two ports over the kernel's sockets in one capture, which is stored, shared, measured
// and controlled: every frame that is sent arrives at each as it was sent.
func TestInterfacesAreCapturedThroughTheKernel(t *testing.T) {
	for _, name := range []string{"tcpreplay", "curl"} {
		tool(t, name)
	}
	c := newCable(t)
	sh(t, "ip", "-n", c.a, "link", "add", "name", "near2", "type", "veth", "peer", "name", "far2", "netns", c.b)
	sh(t, "ip", "-n", c.a, "link", "set", "near2", "up")
	sh(t, "ip", "-n", c.b, "link", "set", "far2", "up")
	file := ""
	for _, f := range captures(t) { // the first without frames longer than an MTU of 1500
		if !strings.Contains(f, "jumbo") {
			file = f
			break
		}
	}
	sent := readPcap(t, file)
	dir, share := t.TempDir(), shortDir(t)
	config := filepath.Join(dir, "ixcap.toml")
	writeSettings(t, config, `
[port.one]
device = "packet:far,timeout=100"
storage.dirs = "`+dir+`/one"
[port.two]
device = "far2"
storage.dirs = "`+dir+`/two"
[defaults]
buffer = "16MiB"
[share]
dir = "`+share+`"
[metrics]
listen = "127.0.0.1:9482"
`)
	in := func(ns string, args ...string) string {
		return sh(t, "ip", append([]string{"netns", "exec", ns}, args...)...)
	}
	hpcapdd := built(t, "hpcapdd")
	checked := in(c.b, hpcapdd, "--config", config, "--check")
	require.Contains(t, checked, "opened packet:far,timeout=100: ")
	require.Contains(t, checked, "opened far2 as xdp:far2: ")
	dd := launch(t, exec.CommandContext(t.Context(), "ip", "netns", "exec", c.b, hpcapdd, "--config", config, "--progress", "--json"))
	dd.waitStderr("Gb/s")
	dd.waitStderr("two: far2 is captured as xdp:far2")
	for _, near := range []string{"near", "near2"} {
		in(c.a, "tcpreplay", "-q", "-i", near, "--mbps=50", file)
	}
	for _, port := range []string{"one", "two"} {
		var s control.Status
		require.Eventually(t, func() bool {
			s = control.Status{}
			out := sh(t, built(t, "hpcapctl"), "--socket", filepath.Join(share, "control.sock"), "--port", port, "status", "--json")
			require.NoError(t, json.Unmarshal([]byte(out), &s), out)
			return s.Queues[0].Stored == uint64(len(sent))
		}, testtime.Deadline, 20*time.Millisecond)
		require.EqualValues(t, len(sent), s.Account.Wire)
		require.Contains(t, s.Clock.StampedBy, map[string]string{"one": "kernel, at reception", "two": "XDP program"}[port])
	}
	metrics := in(c.b, "curl", "-sS", "http://127.0.0.1:9482/metrics")
	require.Contains(t, metrics, `ixcap_port_missed_frames_total{`)
	live := filepath.Join(dir, "live.pcap")
	sh(t, built(t, "hpcapq"), "-r", filepath.Join(dir, "one"), "-r", filepath.Join(dir, "two"), "--share", share, "-w", live)
	require.Len(t, readPcap(t, live), 2*len(sent), "out of files and the memory of the capture")
	r := dd.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	require.NotContains(t, r.stdout, `"balanced": false`)
	for _, port := range []string{"one", "two"} {
		got, _ := readRaw(t, filepath.Join(dir, port))
		require.Len(t, got, len(sent))
		for i := range sent { // a veth pads no short frames
			require.Equal(t, sent[i].data, got[i].data, "port %s, frame %d", port, i)
		}
	}
}

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// serveHTTP is the environment variable that makes this test binary an HTTP server,
// to be started in a network namespace.
const serveHTTP = "IXCAP_E2E_SERVE_HTTP"

// page is the content that it serves, larger than one frame.
var page = bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog.\n"), 2000)

func init() {
	addr := os.Getenv(serveHTTP)
	if addr == "" {
		return
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "listening")
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) }))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// cable is a veth pair between two network namespaces.
type cable struct{ a, b string } // names of the namespaces; their interfaces are near and far

func newCable(t *testing.T) cable {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("network namespaces cannot be made: run the tests as root")
	}
	tool(t, "ip")
	c := cable{fmt.Sprintf("ixcap-a-%d", os.Getpid()), fmt.Sprintf("ixcap-b-%d", os.Getpid())}
	for _, ns := range []string{c.a, c.b} {
		sh(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
		sh(t, "ip", "netns", "exec", ns, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
		sh(t, "ip", "-n", ns, "link", "set", "lo", "up")
	}
	sh(t, "ip", "-n", c.a, "link", "add", "name", "near", "type", "veth", "peer", "name", "far", "netns", c.b)
	sh(t, "ip", "-n", c.a, "link", "set", "near", "up")
	sh(t, "ip", "-n", c.b, "link", "set", "far", "up")
	return c
}

// address gives both ends an IP address.
func (c cable) address(t *testing.T) {
	sh(t, "ip", "-n", c.a, "addr", "add", "10.99.0.1/24", "dev", "near")
	sh(t, "ip", "-n", c.b, "addr", "add", "10.99.0.2/24", "dev", "far")
}

func sh(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %q: %s", name, args, out)
	return string(out)
}

// capture starts hpcapdd on the far end and waits until it receives.
func (c cable) capture(t *testing.T, dir string) *program {
	t.Helper()
	p := launch(t, exec.CommandContext(t.Context(), "ip", "netns", "exec", c.b,
		built(t, "hpcapdd"), "-i", "sim:packet=far", "-w", dir, "--buffer", "4MiB", "--progress", "--json"))
	p.waitStderr("Gb/s") // the first line of progress: the capture runs
	return p
}

func TestLivePingAndCurlAreCaptured(t *testing.T) {
	tool(t, "ping")
	tool(t, "curl")
	c := newCable(t)
	c.address(t)
	self, err := os.Executable()
	require.NoError(t, err)
	server := exec.CommandContext(t.Context(), "ip", "netns", "exec", c.b, self)
	server.Env = append(os.Environ(), serveHTTP+"=10.99.0.2:8080")
	launch(t, server).waitStderr("listening")

	dir := t.TempDir()
	dd := c.capture(t, dir)
	sh(t, "ip", "netns", "exec", c.a, "ping", "-c", "5", "-i", "0.2", "-s", "1000", "10.99.0.2")
	got := sh(t, "ip", "netns", "exec", c.a, "curl", "-sS", "http://10.99.0.2:8080/ixcap")
	require.Equal(t, len(page), len(got))
	time.Sleep(300 * time.Millisecond) // the last acknowledgements
	r := dd.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	l := ledger(t, r)
	require.Zero(t, l.Lost())

	packets, files := readRaw(t, dir)
	require.EqualValues(t, l.Frames(), len(packets))
	echoes, request := 0, 0
	for _, p := range packets {
		require.Equal(t, p.len, len(p.data))
		if len(p.data) == 1042 && p.data[23] == 1 && p.data[34] == 8 { // Ethernet, IPv4, ICMP echo request
			echoes++
		}
		if bytes.Contains(p.data, []byte("GET /ixcap HTTP/1.1")) {
			request++
		}
		require.WithinDuration(t, time.Now(), p.at, time.Minute)
	}
	require.Equal(t, 5, echoes)
	require.Equal(t, 1, request)
	out := filepath.Join(t.TempDir(), "x.pcap")
	succeed(t, "raw2pcap", append([]string{"-w", out}, files...)...)
	dissect(t, out, len(packets))
}

func TestLiveReplayArrivesByteForByte(t *testing.T) {
	tool(t, "tcpreplay")
	c := newCable(t)
	file := ""
	for _, f := range captures(t) { // the first without frames longer than an MTU of 1500
		if !strings.Contains(f, "jumbo") {
			file = f
			break
		}
	}
	sent := readPcap(t, file)
	dir := t.TempDir()
	dd := c.capture(t, dir)
	sh(t, "ip", "netns", "exec", c.a, "tcpreplay", "-q", "-i", "near", "--mbps=50", file)
	time.Sleep(300 * time.Millisecond)
	r := dd.end(unix.SIGINT)
	require.Zero(t, r.status, r.stderr)
	ledger(t, r)
	got, _ := readRaw(t, dir)
	requireSameFrames(t, sent, got)
}

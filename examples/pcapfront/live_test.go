package pcapfront

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap"
	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
)

// front builds the libpcap front in a folder and returns it.
func front(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "make", "-s", "-C", "../../libpcap", "BUILD="+dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return dir
}

// live is a capture that shares its stream.
type live struct {
	t       *testing.T
	capture *ixcap.Capture
	name    string // of the device
	share   string // folder of its socket
	read    chan []packet
	end     func() capture.Ledger // ends the capture
}

// open opens a port and shares it for a program. A listener in this process keeps what is
// captured.
func open(t *testing.T, p *program, device string) *live {
	t.Helper()
	l := &live{t: t, name: "port", share: p.temp(t), read: make(chan []packet, 1)}
	if p.kernel {
		l.name = "lo"
	}
	var err error
	l.capture, err = ixcap.Open(t.Context(), device, ixcap.Buffer(32<<20))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.capture.Close()) })
	server, err := l.capture.Engine().Stream(0).Serve(stream.ServerConfig{Path: filepath.Join(l.share, l.name+"-queue0.sock")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	all, err := l.capture.Listen("reference")
	require.NoError(t, err)
	go func() {
		var packets []packet
		for p := range all[0].Packets(context.Background()) {
			packets = append(packets, packet{p.Time(), int(p.Len), bytes.Clone(p.Data)})
		}
		l.read <- packets
	}()
	return l
}

// environ is that of a program that captures from the port.
func (l *live) environ(p *program, lib string) []string {
	return []string{"LD_LIBRARY_PATH=" + p.inside(lib), "PCAP_DRIVER=ixcap", "IXCAP_SHARE=" + p.inside(l.share)}
}

// attached returns the listeners of other processes.
func (l *live) attached() []stream.ListenerStats {
	var all []stream.ListenerStats
	for _, s := range l.capture.Engine().Stream(0).Stats().Listeners {
		if s.PID != os.Getpid() {
			all = append(all, s)
		}
	}
	return all
}

// start starts an instance and waits until n are attached. A program may attach and detach
// before it attaches for good.
func (l *live) start(in *instance, env []string, n int) *exec.Cmd {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*testtime.Deadline)
	l.t.Cleanup(cancel)
	in.device = l.name
	c := in.command(ctx, l.t, env)
	require.NoError(l.t, c.Start())
	stable := 0
	require.Eventually(l.t, func() bool {
		stable++
		if len(l.attached()) != n {
			stable = 0
		}
		return stable == 20
	}, testtime.Deadline, 10*time.Millisecond, "%s does not attach: %s%s", c, &in.stdout, &in.stderr)
	return c
}

// run starts the capture and waits until the listeners have read n frames.
func (l *live) run(n int) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	l.t.Cleanup(cancel)
	done := make(chan error, 1)
	var ledger capture.Ledger
	go func() {
		var err error
		ledger, err = l.capture.Run(ctx)
		done <- err
	}()
	l.end = func() capture.Ledger {
		cancel()
		require.NoError(l.t, <-done)
		return ledger
	}
	require.Eventually(l.t, func() bool {
		all := l.attached()
		for _, s := range all {
			if s.Read != uint64(n) {
				return false
			}
		}
		return len(all) > 0
	}, testtime.Deadline, 10*time.Millisecond, "not all of %d frames are read", n)
}

// TestOneInstanceOverTheFront lets each program capture from the software 82599. It writes
// what it writes of a file with the same packets, which it reads with the system's libpcap.
func TestOneInstanceOverTheFront(t *testing.T) {
	lib := front(t, t.TempDir())
	selected, packets := programs, stamped(mix(t, 400))
	if !wholeMatrix {
		selected, packets = programs[:2], stamped(mix(t, 40))
	}
	for _, p := range selected {
		t.Run(p.name, func(t *testing.T) {
			if packages := p.missing(); len(packages) > 0 {
				t.Skipf("%s is not installed: sudo apt-get install --no-install-recommends %s", p.name, strings.Join(packages, " "))
			}
			checkLive(t, &p, lib, packets)
		})
	}
}

// model opens the software 82599 with packets on its wire, at the spacing of their stamps.
// The wire does not end: a last packet comes late, and no capture here waits for it.
func model(t *testing.T, p *program, packets []packet) *live {
	t.Helper()
	last := packets[len(packets)-1]
	last.stamp = last.stamp.Add(time.Hour)
	file := filepath.Join(t.TempDir(), "wire.pcap")
	writePcap(t, file, append(packets[:len(packets):len(packets)], last), false)
	return open(t, p, fmt.Sprintf("sim:pcap=%s,rate=recorded,backpressure", file))
}

func checkLive(t *testing.T, p *program, lib string, sent []packet) {
	t.Helper()
	l := model(t, p, sent)
	dir := p.temp(t)
	in := newInstance(t, p, filepath.Join(dir, "live"))
	c := l.start(in, l.environ(p, lib), 1)
	l.run(len(sent))
	if p.stop != nil {
		p.stop(t, in, c)
		_ = c.Wait()
	}
	ledger := l.end()
	_ = c.Wait()
	require.Equal(t, p.status, c.ProcessState.ExitCode(), "%s: %s: %s%s", c, c.ProcessState, &in.stdout, &in.stderr)
	require.NoError(t, ledger.Balanced())
	require.Zero(t, ledger.Lost())
	got := p.read(t, in)

	file := newInstance(t, p, filepath.Join(dir, "file"))
	file.file = file.dir + ".pcap"
	writePcap(t, file.file, <-l.read, p.nano)
	requireSameLines(t, file.run(t), got)
	require.NotEmpty(t, got)
	t.Logf("%s %s: %d lines from %d packets", p.name, p.version(t), len(got), len(sent))
}

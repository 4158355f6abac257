package pcapfront

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	send    func() // sends what the port is to capture; nil: it is on the model's wire
}

// open opens a port and shares it for a program under a name. A listener in this process
// keeps what is captured.
func open(t *testing.T, p *program, name, device string, options ...ixcap.Option) *live {
	t.Helper()
	l := &live{t: t, name: name, share: p.temp(t), read: make(chan []packet, 1)}
	var err error
	l.capture, err = ixcap.Open(t.Context(), device, append(options, ixcap.Buffer(32<<20))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.capture.Close()) })
	sources, err := l.capture.Listen("reference")
	require.NoError(t, err)
	for q := range sources {
		path := filepath.Join(l.share, fmt.Sprintf("%s-queue%d.sock", name, q))
		server, err := l.capture.Engine().Stream(q).Serve(stream.ServerConfig{Path: path})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, server.Close()) })
	}
	go l.keep(sources)
	return l
}

// keep reads all queues to their ends and delivers the packets in the order of their stamps.
func (l *live) keep(sources []*ixcap.Listener) {
	var all []packet
	for _, s := range sources {
		for p := range s.Packets(context.Background()) {
			all = append(all, packet{p.Time(), int(p.Len), bytes.Clone(p.Data)})
		}
	}
	slices.SortStableFunc(all, func(a, b packet) int { return a.stamp.Compare(b.stamp) })
	l.read <- all
}

// environ is that of a program that captures from the port.
func (l *live) environ(p *program, lib string) []string {
	return []string{"LD_LIBRARY_PATH=" + p.inside(lib), "PCAP_DRIVER=ixcap", "IXCAP_SHARE=" + p.inside(l.share)}
}

// attached returns the number of other processes that listen to all queues, and the frames
// that they have read.
func (l *live) attached() (processes int, read uint64) {
	e := l.capture.Engine()
	for q := range e.Queues() {
		for _, s := range e.Stream(q).Stats().Listeners {
			if s.PID != os.Getpid() {
				processes++
				read += s.Read
			}
		}
	}
	if processes%e.Queues() != 0 {
		return 0, read
	}
	return processes / e.Queues(), read
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
		if now, _ := l.attached(); now != n {
			stable = 0
		}
		return stable == 20
	}, testtime.Deadline, 10*time.Millisecond, "%s does not attach: %s%s", c, &in.stdout, &in.stderr)
	return c
}

// run starts the capture and waits until a listener, or the members of a group together,
// have read n frames.
func (l *live) run(n int) {
	l.t.Helper()
	require.NoError(l.t, l.capture.Engine().Start())
	if l.send != nil {
		l.send()
	}
	require.Eventually(l.t, func() bool {
		_, read := l.attached()
		return read == uint64(n)
	}, testtime.Deadline, 10*time.Millisecond, "not all of %d frames are read", n)
}

// end ends the capture. The ledger balances, and no frame is lost.
func (l *live) end() capture.Ledger {
	l.t.Helper()
	require.NoError(l.t, l.capture.Engine().Stop())
	ledger, err := l.capture.Engine().Ledger()
	require.NoError(l.t, err)
	require.NoError(l.t, ledger.Balanced())
	require.Zero(l.t, ledger.Lost())
	return ledger
}

// finish ends instances and the capture.
func (l *live) finish(all []*instance, commands []*exec.Cmd) capture.Ledger {
	l.t.Helper()
	for i, in := range all {
		if in.program.stop != nil {
			in.program.stop(l.t, in, commands[i])
			_ = commands[i].Wait()
		}
	}
	ledger := l.end()
	for i, in := range all {
		_ = commands[i].Wait()
		require.Equal(l.t, in.program.status, commands[i].ProcessState.ExitCode(), "%s: %s: %s%s",
			commands[i], commands[i].ProcessState, &in.stdout, &in.stderr)
	}
	return ledger
}

// reference returns what one instance writes of a file with the packets captured.
func (l *live) reference(p *program, dir string) []string {
	l.t.Helper()
	in := newInstance(l.t, p, filepath.Join(dir, "file"))
	in.file = in.dir + ".pcap"
	writePcap(l.t, in.file, <-l.read, p.nano)
	return in.run(l.t)
}

// TestOneInstanceOverTheFront lets each program capture from a port of each kind. It writes
// what it writes of a file with the same packets, which it reads with the system's libpcap.
func TestOneInstanceOverTheFront(t *testing.T) {
	lib := front(t, t.TempDir())
	ports, selected, packets := sources, programs, stamped(mix(t, 400))
	if !wholeMatrix {
		ports, selected, packets = sources[:1], programs[:1], stamped(mix(t, 40))
	}
	for _, s := range ports {
		for _, p := range selected {
			t.Run(s.name+"/"+p.name, func(t *testing.T) {
				p.requireInstalled(t)
				checkLive(t, &p, s, lib, packets)
			})
		}
	}
}

func checkLive(t *testing.T, p *program, s source, lib string, sent []packet) {
	t.Helper()
	l := s.open(t, p, sent)
	dir := p.temp(t)
	in := newInstance(t, p, filepath.Join(dir, "live"))
	c := l.start(in, l.environ(p, lib), 1)
	l.run(len(sent))
	l.finish([]*instance{in}, []*exec.Cmd{c})
	got := p.read(t, in)
	requireSameLines(t, l.reference(p, dir), got)
	require.NotEmpty(t, got)
	t.Logf("%s %s: %d lines from %d packets", p.name, p.version(t), len(got), len(sent))
}

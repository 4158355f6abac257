//go:build vmtest

package vmtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ixcap/ixcap/examples/vmtest/internal/agent"
)

// bootDeadline is for a machine to come up: seconds on an idle machine.
const bootDeadline = 3 * time.Minute

// boot starts the models and a machine with their NICs, and returns when its
// agent answers. Machine and models end with the test; where it failed, what
// they said is in its output. Booting is a case by itself, with a line.
func boot(t *testing.T, m machine) *guest {
	t.Helper()
	start, ok := time.Now(), false
	defer func() { report(caseTitle(t.Name(), "boot"), ok, t.Skipped(), time.Since(start)) }()
	initrd, err := initramfs(m.Kernel)
	if err != nil {
		t.Fatalf("make the initramfs: %v", err)
	}
	dir, err := os.MkdirTemp(scratch, "")
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{share: filepath.Join(dir, "share"), machine: m, stderr: &transcript{},
		jobs: map[uint32]*process{}, broken: make(chan struct{})}
	g.console = &transcript{seen: g.watch}
	t.Cleanup(func() {
		g.end(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(g.share, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(g.share, 0o777); err != nil { // whatever the umask: the guest's users write here too
		t.Fatal(err)
	}
	startModels(t, g, m.NICs, dir)
	if err := g.boot(initrd, dir); err != nil {
		t.Fatalf("boot kernel %s: %v", m.Kernel, err)
	}
	ok = true
	return g
}

func (g *guest) boot(initrd, dir string) error {
	// QEMU connects to these, so that nothing has to wait for it to listen.
	control, err := listen(filepath.Join(dir, "qmp"))
	if err != nil {
		return err
	}
	defer control.Close()
	agents, err := listen(filepath.Join(dir, "agent"))
	if err != nil {
		return err
	}
	defer agents.Close()

	cmd, err := g.machine.command(context.Background(), initrd, dir, g.share, g.ports)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = g.console, g.stderr
	if g.qemu, err = startChild("qemu", cmd, -1); err != nil {
		return err
	}
	go func() {
		<-g.qemu.done
		g.breaks(fmt.Errorf("QEMU has ended: %v\n%s", g.qemu.err, tail(g.stderr.String(), 20)))
	}()

	conn, err := g.accept(control, 30*time.Second)
	if err != nil {
		return fmt.Errorf("QEMU's control channel: %w", err)
	}
	if g.control, err = newQMP(conn); err != nil {
		return err
	}
	if g.conn, err = g.accept(agents, 30*time.Second); err != nil {
		return fmt.Errorf("QEMU's serial port: %w", err)
	}
	return g.greet()
}

// greet waits for the agent to say that it is up.
func (g *guest) greet() error {
	r := agent.NewReader(g.conn)
	type hello struct {
		agent.Frame
		error
	}
	first := make(chan hello, 1)
	go func() {
		f, err := r.Read()
		first <- hello{f, err}
	}()
	timer := time.NewTimer(min(bootDeadline, time.Until(runEnds)))
	defer timer.Stop()
	select {
	case h := <-first:
		var greeting agent.Greeting
		if h.error == nil && h.Kind != agent.Hello {
			h.error = fmt.Errorf("it began with a frame of kind %d", h.Kind)
		}
		if h.error == nil {
			h.error = json.Unmarshal(h.Payload, &greeting)
		}
		if h.error != nil {
			return fmt.Errorf("the guest's agent: %w\n--- end of the guest's console ---\n%s", h.error, tail(g.console.String(), 50))
		}
		g.release = greeting.Release
		go g.serve(r)
		return nil
	case <-g.broken:
		return g.trouble()
	case <-timer.C:
		return fmt.Errorf("the guest's agent does not answer after %v\n--- end of the guest's console ---\n%s", bootDeadline, tail(g.console.String(), 50))
	}
}

func listen(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// accept waits for QEMU's connection.
func (g *guest) accept(l *net.UnixListener, patience time.Duration) (net.Conn, error) {
	for start := time.Now(); ; {
		if err := l.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return nil, err
		}
		conn, err := l.Accept()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
		select {
		case <-g.broken:
			return nil, g.trouble()
		default:
		}
		if time.Since(start) > patience {
			return nil, fmt.Errorf("no connection within %v: %s", patience, tail(g.stderr.String(), 20))
		}
	}
}

// sinceInit prints the kernel's log with its levels, from init on.
const sinceInit = `dmesg -x | sed '1,/Run .init as init process/d'`

// end stops what runs and, if the test failed, tells what the parts said.
func (g *guest) end(t *testing.T) {
	g.mu.Lock()
	g.ending = true
	why := g.why
	g.mu.Unlock()
	if why != nil && !t.Failed() && !g.mayBreak {
		// Nobody waited for the guest when it broke.
		t.Errorf("%v", g.trouble())
	}
	if t.Failed() && why == nil && g.conn != nil {
		// The agent may be of no use by now: then the console has to do.
		if log, err := g.try(sinceInit + ` | grep -E '^[a-z]+ *:(emerg|alert|crit|err|warn) *:'`); err == nil {
			t.Logf("--- what the guest's kernel warned of ---\n%s", log)
		}
		if log, err := g.try(sinceInit + " | tail -n 50"); err == nil {
			t.Logf("--- end of the guest's dmesg ---\n%s", log)
		}
	}
	if g.qemu != nil {
		if err := g.quit(); err != nil {
			t.Errorf("end QEMU: %v", err)
		}
	}
	for _, m := range g.models {
		if m.child == nil {
			continue
		}
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}
	if g.conn != nil {
		g.conn.Close()
	}
	if g.control != nil {
		g.control.conn.Close()
	}
	if !t.Failed() {
		return
	}
	t.Logf("--- end of the guest's console ---\n%s", tail(g.console.String(), 60))
	t.Logf("--- QEMU's messages ---\n%s", tail(g.stderr.String(), 30))
	for i, m := range g.models {
		t.Logf("--- nicsim %d (%v): messages ---\n%s\n--- its counters ---\n%s", i, m.wires, tail(m.err.String(), 40), tail(m.out.String(), len(m.sockets)))
	}
}

// quit ends QEMU, politely at first.
func (g *guest) quit() error {
	if g.control != nil {
		// An error here is QEMU ending before it answers, or having ended.
		_, _ = g.control.call("quit", nil)
		select {
		case <-g.qemu.done:
			return nil
		case <-time.After(10 * time.Second):
		}
	}
	return g.qemu.stop(os.Interrupt, 5*time.Second)
}
